import assert from 'node:assert/strict';
import { hash } from './blake3.ts';
import { blockSize, runBlocksMax } from './layout.ts';
import { localCore, localSlot } from './local-core.ts';

/** Bytes of a stream that are cut together, independent of what is before and behind. */
export const cutRunBytes = blockSize * runBlocksMax;
/** A chunk has at least that many bytes, but for the last of a run. */
export const chunkBytesMin = 32_768;
/** A chunk has at most that many: a block of 64 KiB has room for it and its length. */
export const chunkBytesMax = blockSize - 2;

let gear: Uint8Array | undefined;

/** A number for each value of a byte: the first four bytes of its BLAKE3 digest. */
export function gearTable(): Uint8Array {
  gear ??= Uint8Array.from(
    Array.from({ length: 256 }, (_, value) => [
      ...hash(Uint8Array.of(value)).subarray(0, 4),
    ]).flat(),
  );
  return gear;
}

/**
 * Where the chunks of at most 4 MiB end, in the calling thread: cuts move with the content, so that
 * a stream into which something was put has the same chunks behind it.
 */
export function cutRun(bytes: Uint8Array): Uint32Array {
  assert(bytes.length <= cutRunBytes, `a run has at most ${cutRunBytes} bytes`);
  const table = gearTable();
  const core = localCore();
  const { input, output } = localSlot;
  core.bytes.set(bytes, input);
  core.bytes.set(table, output);
  const ends = output + table.length;
  const count = core.exports.cutRun(input, bytes.length, output, ends);
  return new Uint32Array(core.memory.buffer, ends, count).slice();
}
