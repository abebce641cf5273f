import { invalidArgument, type RpcError } from '../../../../sdk/errors.ts';

export const externalKinds = ['function', 'table', 'memory', 'global', 'tag'] as const;
export type ExternalKind = (typeof externalKinds)[number];

/** What the fitness of a program depends on, as its bytes say it. */
export type ProgramOutline = {
  imports: { module: string; name: string; kind: ExternalKind }[];
  exports: { name: string; kind: ExternalKind; index: number }[];
  /** Globals in the order of their indexes, imported ones first. */
  globals: { type: number; mutable: boolean }[];
  memories: { shared: boolean; is64: boolean; pagesMin: number }[];
  tableCount: number;
  passiveSegments: boolean;
};

const itemsMax = 100_000;
const nameBytesMax = 1024;

/**
 * Reads the sections of a WebAssembly module that say what state it has. The bytes are hostile:
 * every length is checked before it is used. INVALID_ARGUMENT with reason IMAGE_UNFIT and the
 * offset for what cannot be read.
 */
export function outlineProgram(bytes: Uint8Array): ProgramOutline {
  const reader = new Reader(bytes, 0, bytes.length);
  if (reader.u32Fixed() !== 0x6d736100 || reader.u32Fixed() !== 1) {
    throw reader.unfit('is not a WebAssembly module of version 1');
  }
  const outline: ProgramOutline = {
    imports: [],
    exports: [],
    globals: [],
    memories: [],
    tableCount: 0,
    passiveSegments: false,
  };
  while (!reader.atEnd) {
    const id = reader.byte();
    const section = reader.sub(reader.leb());
    readSection(id, section, outline);
  }
  return outline;
}

function readSection(id: number, section: Reader, outline: ProgramOutline): void {
  if (id === 2) section.list(() => readImport(section, outline));
  else if (id === 4) section.list(() => readTable(section, outline));
  else if (id === 5) section.list(() => outline.memories.push(readMemory(section)));
  else if (id === 6) section.list(() => readGlobal(section, outline));
  else if (id === 7) section.list(() => readExport(section, outline));
  else if (id === 9 || id === 11) readSegments(section, outline);
  else if (id > 12) throw section.unfit(`has a section of the unknown kind ${id}`);
}

function readImport(section: Reader, outline: ProgramOutline): void {
  const module = section.name();
  const name = section.name();
  const kind = section.kind();
  outline.imports.push({ module, name, kind });
  if (kind === 'function') section.leb();
  else if (kind === 'table') readTable(section, outline);
  else if (kind === 'memory') outline.memories.push(readMemory(section));
  else if (kind === 'global') {
    outline.globals.push({ type: section.byte(), mutable: section.byte() === 1 });
  } else throw section.unfit('imports an exception tag');
}

function readTable(section: Reader, outline: ProgramOutline): void {
  outline.tableCount++;
  section.byte();
  section.limits();
}

function readMemory(section: Reader): ProgramOutline['memories'][number] {
  const { flags, min } = section.limits();
  return { shared: (flags & 2) !== 0, is64: (flags & 4) !== 0, pagesMin: min };
}

function readGlobal(section: Reader, outline: ProgramOutline): void {
  outline.globals.push({ type: section.byte(), mutable: section.byte() === 1 });
  section.constantExpression();
}

function readExport(section: Reader, outline: ProgramOutline): void {
  outline.exports.push({ name: section.name(), kind: section.kind(), index: section.leb() });
}

/**
 * Only the first segment's flags are looked at when they are all active; a passive one decides at
 * once.
 */
function readSegments(section: Reader, outline: ProgramOutline): void {
  section.list(() => {
    const flags = section.leb();
    if ((flags & 1) !== 0) {
      outline.passiveSegments = true;
      section.skipRest();
      return 'stop';
    }
    if (flags !== 0) {
      section.skipRest();
      return 'stop';
    }
    section.constantExpression();
    section.skip(section.leb());
    return undefined;
  });
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get atEnd(): boolean {
    return this.#at >= this.#end;
  }

  unfit(what: string): RpcError {
    return imageUnfit(`the program ${what} (at byte ${this.#at})`, { offset: String(this.#at) });
  }

  byte(): number {
    if (this.#at >= this.#end) throw this.unfit('ends too early');
    return this.#bytes[this.#at++] as number;
  }

  u32Fixed(): number {
    return (this.byte() | (this.byte() << 8) | (this.byte() << 16) | (this.byte() << 24)) >>> 0;
  }

  leb(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) {
        if (value >= 2 ** 32) break;
        return value;
      }
    }
    throw this.unfit('has a number that is too long');
  }

  sub(length: number): Reader {
    if (length > this.#end - this.#at) throw this.unfit('has a section that is too long');
    const start = this.#at;
    this.#at += length;
    return new Reader(this.#bytes, start, this.#at);
  }

  skip(length: number): void {
    if (length > this.#end - this.#at) throw this.unfit('has a segment that is too long');
    this.#at += length;
  }

  skipRest(): void {
    this.#at = this.#end;
  }

  list(item: () => unknown): void {
    const count = this.leb();
    if (count > itemsMax) throw this.unfit(`has a list of ${count} items`);
    for (let index = 0; index < count; index++) if (item() === 'stop') return;
  }

  name(): string {
    const length = this.leb();
    if (length > nameBytesMax) throw this.unfit('has a name that is too long');
    const start = this.#at;
    this.skip(length);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + length));
  }

  kind(): ExternalKind {
    const kind = externalKinds[this.byte()];
    if (kind === undefined) throw this.unfit('imports or exports an unknown kind of thing');
    return kind;
  }

  limits(): { flags: number; min: number } {
    const flags = this.byte();
    const min = this.leb();
    if ((flags & 1) !== 0) this.leb();
    return { flags, min };
  }

  /** Skips the initial value of a global or the offset of a segment. */
  constantExpression(): void {
    for (;;) {
      const opcode = this.byte();
      if (opcode === 0x0b) return;
      if (opcode === 0x41 || opcode === 0x42) this.#signed();
      else if (opcode === 0x43) this.skip(4);
      else if (opcode === 0x44) this.skip(8);
      else if (opcode === 0x23 || opcode === 0xd2) this.leb();
      else if (opcode === 0xd0) this.byte();
      else throw this.unfit(`has the opcode ${opcode} in a constant expression`);
    }
  }

  #signed(): void {
    for (let count = 0; count < 10; count++) if ((this.byte() & 0x80) === 0) return;
    throw this.unfit('has a number that is too long');
  }
}

/** The refusal of a program. The caller builds the image anew. */
export function imageUnfit(message: string, metadata: Record<string, string> = {}): RpcError {
  return invalidArgument('IMAGE_UNFIT', message, metadata);
}
