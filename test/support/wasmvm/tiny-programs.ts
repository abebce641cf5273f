/**
 * What to put into a hand-made guest. Bodies are WebAssembly instructions without the final `end`.
 */
export type TinyProgram = {
  boot?: readonly number[];
  tick?: readonly number[];
  /** A mutable i32 global, exported under this name; `null`: not exported. */
  global?: string | null;
  table?: boolean;
  passiveData?: boolean;
  /** Exported name of the memory. */
  memoryName?: string;
  /** Flags of the memory's limits: 0, or 3 for a shared one with a maximum. */
  sharedMemory?: boolean;
  /** Imports one function of type () → () from this module under this name. */
  importFunction?: readonly [module: string, name: string];
  withoutTick?: boolean;
};

/** `unreachable` */
export const trapBody = [0x00];
/** `loop br 0 end` */
export const spinBody = [0x03, 0x40, 0x0c, 0x00, 0x0b];
/** `i32.const 1 memory.grow drop`: 64 KiB more with each tick. */
export const growBody = [0x41, 0x01, 0x40, 0x00, 0x1a];

/** Assembles a guest. */
export function tinyProgram(program: TinyProgram = {}): Uint8Array<ArrayBuffer> {
  const imported = program.importFunction ? 1 : 0;
  const exports = [
    [...name(program.memoryName ?? 'memory'), 0x02, 0x00],
    [...name('boot'), 0x00, imported],
    ...(program.withoutTick ? [] : [[...name('tick'), 0x00, imported + 1]]),
    ...(program.global ? [[...name(program.global), 0x03, 0x00]] : []),
  ];
  const importItem = (program.importFunction ?? ['', '']).flatMap(name);
  const bytes = [
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [[0x60, 0x00, 0x00]]),
    ...(program.importFunction ? section(2, [[...importItem, 0x00, 0x00]]) : []),
    ...section(3, [[0x00], [0x00]]),
    ...(program.table ? section(4, [[0x70, 0x00, 0x01]]) : []),
    ...section(5, [program.sharedMemory ? [0x03, 0x01, 0x02] : [0x00, 0x01]]),
    ...(program.global === undefined ? [] : section(6, [[0x7f, 0x01, 0x41, 0x07, 0x0b]])),
    ...section(7, exports),
    ...section(10, [body(program.boot ?? []), body(program.tick ?? [])]),
    ...(program.passiveData ? section(11, [[0x01, 0x01, 0x2a]]) : []),
  ];
  return Uint8Array.from(bytes);
}

function section(id: number, items: readonly (readonly number[])[]): number[] {
  const content = [items.length, ...items.flat()];
  return [id, ...leb(content.length), ...content];
}

function body(instructions: readonly number[]): number[] {
  const content = [0x00, ...instructions, 0x0b];
  return [...leb(content.length), ...content];
}

function name(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text)];
  return [bytes.length, ...bytes];
}

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}
