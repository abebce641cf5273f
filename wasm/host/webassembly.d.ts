// The part of the WebAssembly interface that Node has and its type package does not describe (only
// the browser's library does).
declare namespace WebAssembly {
  type Buffers = ArrayBuffer | SharedArrayBuffer;
  type BufferSource = ArrayBufferView | Buffers;
  type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128' | 'externref' | 'anyfunc';
  type ExternKind = 'function' | 'global' | 'memory' | 'table';
  type Imports = Record<string, Record<string, unknown>>;
  type Exports = Record<string, unknown>;

  interface Module {
    readonly [Symbol.toStringTag]: string;
  }
  const Module: {
    new (bytes: BufferSource): Module;
    exports(module: Module): { name: string; kind: ExternKind }[];
    imports(module: Module): { module: string; name: string; kind: ExternKind }[];
    customSections(module: Module, name: string): ArrayBuffer[];
  };

  interface Instance {
    readonly exports: Exports;
  }
  const Instance: new (module: Module, imports?: Imports) => Instance;

  interface Memory {
    readonly buffer: Buffers;
    /** Adds pages of 64 KiB and returns how many there were. */
    grow(pages: number): number;
  }
  const Memory: new (descriptor: { initial: number; maximum?: number; shared?: boolean }) => Memory;

  // biome-ignore lint/suspicious/noExplicitAny: a global holds whatever its type says.
  interface Global<T = any> {
    value: T;
    valueOf(): T;
  }
  const Global: new (
    descriptor: { value: ValueType; mutable?: boolean },
    value?: unknown,
  ) => Global;

  const CompileError: ErrorConstructor;
  const LinkError: ErrorConstructor;
  const RuntimeError: ErrorConstructor;

  function validate(bytes: BufferSource): boolean;
  function compile(bytes: BufferSource): Promise<Module>;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
  function instantiate(
    bytes: BufferSource,
    imports?: Imports,
  ): Promise<{ module: Module; instance: Instance }>;
}
