import { readFile } from 'node:fs/promises';

const headerBytes = 65536;
const recordsBytes = 2097152;
const workBytes = 262144;
const lineBytes = 16;
const pageBytes = 4096;

/**
 * Reads the log of a component's data disk as the guests' lib/data-disk.ts writes it. Returns the
 * numbers of the current log, oldest first, up to the first line that was never written.
 */
export async function readDataLog(path: string): Promise<number[]> {
  const bytes = await readFile(path);
  const half = bytes.readUInt32LE(16);
  const rest = bytes.length - headerBytes - recordsBytes - workBytes;
  const halfBytes = Math.floor(rest / 2 / pageBytes) * pageBytes;
  const start = headerBytes + recordsBytes + halfBytes * half;
  const numbers: number[] = [];
  for (let at = start; at + lineBytes <= start + halfBytes; at += lineBytes) {
    const number = Number(bytes.readBigUInt64LE(at));
    if (number === 0 || (numbers.length > 0 && number !== (numbers.at(-1) as number) + 1)) break;
    numbers.push(number);
  }
  return numbers;
}
