import { hostFunctionNames } from '../machine/host-function-names.ts';
import { imageUnfit, outlineProgram } from './sections.ts';

/** What the driver has to know of a program. */
export type ProgramFacts = {
  /** Exported mutable globals: part of the memory of the guest. */
  globals: string[];
  /** The guest can freeze its file systems. */
  canFreeze: boolean;
  /** The guest can be asked to shut down. */
  canShutDown: boolean;
  /** The guest speaks on the VNF channel. */
  hasChannel: boolean;
  /** The memory it starts with, in pages of 64 KiB. */
  pagesMin: number;
};

const numberTypes = new Set([0x7f, 0x7e, 0x7d, 0x7c]);
const required = ['boot', 'tick'] as const;

/**
 * Checks that a program can be a guest whose state is wholly visible from outside, between two
 * ticks: one exported, unshared 32-bit memory named "memory"; every mutable global exported and a
 * number; no table and no passive segment (both can change, unseen); functions `boot` and `tick`;
 * no imports but those of namespace "vm". INVALID_ARGUMENT with reason IMAGE_UNFIT otherwise.
 */
export function inspectProgram(bytes: Uint8Array): ProgramFacts {
  const outline = outlineProgram(bytes);
  for (const { module, name, kind } of outline.imports) {
    if (module !== 'vm' || kind !== 'function' || !hostFunctionNames.has(name)) {
      throw imageUnfit(`the program imports ${kind} ${module}.${name}, which the driver has not`, {
        import: `${module}.${name}`,
      });
    }
  }
  const functions = new Set(
    outline.exports.filter(({ kind }) => kind === 'function').map(({ name }) => name),
  );
  for (const name of required) {
    if (!functions.has(name)) throw imageUnfit(`the program exports no function ${name}`, { name });
  }
  checkState(outline);
  const imported = new Set(outline.imports.map(({ name }) => name));
  return {
    globals: exportedGlobals(outline),
    canFreeze: functions.has('freeze') && functions.has('thaw'),
    canShutDown: functions.has('shutdown'),
    hasChannel: imported.has('channel_read') && imported.has('channel_write'),
    pagesMin: outline.memories[0]?.pagesMin ?? 0,
  };
}

function checkState(outline: ReturnType<typeof outlineProgram>): void {
  const [memory, ...more] = outline.memories;
  const exported = outline.exports.some((item) => item.kind === 'memory' && item.name === 'memory');
  if (memory === undefined || more.length > 0 || !exported) {
    throw imageUnfit('the program must have one memory and export it as "memory"');
  }
  if (memory.shared || memory.is64) {
    throw imageUnfit('the memory of the program must be a 32-bit one that is not shared');
  }
  if (outline.tableCount > 0) {
    throw imageUnfit('the program has a table, whose content cannot be captured');
  }
  if (outline.passiveSegments) {
    throw imageUnfit('the program has passive segments, whose state cannot be captured');
  }
}

function exportedGlobals(outline: ReturnType<typeof outlineProgram>): string[] {
  const names: string[] = [];
  for (const [index, { type, mutable }] of outline.globals.entries()) {
    if (!mutable) continue;
    const found = outline.exports.find((item) => item.kind === 'global' && item.index === index);
    if (found === undefined || !numberTypes.has(type)) {
      throw imageUnfit(
        `the mutable global ${index} is not an exported number, so it cannot be captured; ` +
          'keep the state in linear memory',
        { global: String(index) },
      );
    }
    names.push(found.name);
  }
  return names;
}
