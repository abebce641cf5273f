import { idSize } from './limits.ts';

/** The id of a hole: all zero. No content has it. */
export const holeId: Uint8Array = new Uint8Array(idSize);

/** True when the 32 bytes at id number `index` are all zero. */
export function isHole(ids: Uint8Array, index = 0): boolean {
  const start = index * idSize;
  for (let at = start; at < start + idSize; at++) if (ids[at] !== 0) return false;
  return true;
}

/** True when two ids, given by their numbers in two lists, are equal. */
export function sameId(a: Uint8Array, aIndex: number, b: Uint8Array, bIndex: number): boolean {
  const aStart = aIndex * idSize;
  const bStart = bIndex * idSize;
  for (let at = 0; at < idSize; at++) if (a[aStart + at] !== b[bStart + at]) return false;
  return true;
}

/** A view of id number `index`. */
export function idAt(ids: Uint8Array, index: number): Uint8Array {
  return ids.subarray(index * idSize, (index + 1) * idSize);
}

/** 64 lower-case hexadecimal digits. */
export function formatId(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, idSize).toString('hex');
}

/** The id in 64 lower-case hexadecimal digits, or undefined when the text is something else. */
export function parseId(text: unknown): Uint8Array | undefined {
  if (typeof text !== 'string' || !/^[0-9a-f]{64}$/.test(text)) return undefined;
  return new Uint8Array(Buffer.from(text, 'hex'));
}
