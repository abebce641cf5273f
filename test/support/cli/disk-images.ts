import { execFile } from 'node:child_process';
import { createCipheriv, createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';

export const blockSize = 65536;

const execute = promisify(execFile);

/** Runs another program to its end and returns its standard output as bytes. */
export async function tool(name: string, ...args: string[]): Promise<Buffer> {
  const options = { encoding: 'buffer' as const, maxBuffer: 256 * 2 ** 20 };
  return (await execute(name, args, options)).stdout;
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  return cipher.update(Buffer.alloc(length));
}

/** Bytes that compress well, no block of them zero. */
export function text(seed: string, length: number): Buffer {
  return Buffer.alloc(length, `${seed} says the same thing over and over again. `);
}

/** Writes a sparse file of that size with these pieces in it. */
export async function writeImage(
  path: string,
  sizeBytes: number,
  pieces: readonly { at: number; bytes: Uint8Array }[] = [],
): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (const { at, bytes } of pieces) await file.write(bytes, 0, bytes.length, at);
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
}

/** Overwrites bytes of a file. */
export async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, at);
  } finally {
    await file.close();
  }
}

/** Flips one bit of a file. */
export async function flipBit(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const byte = new Uint8Array(1);
    await file.read(byte, 0, 1, at);
    await file.write(Uint8Array.of(byte[0]! ^ 0x10), 0, 1, at);
  } finally {
    await file.close();
  }
}

/** Asserts that a file has these bytes. A deep comparison of large buffers takes minutes. */
export async function sameBytes(t: ExecutionContext, bytes: Buffer, path: string): Promise<void> {
  t.true(bytes.equals(await readFile(path)), `${path} has other bytes`);
}

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/** Asserts that two files have the same bytes. */
export async function sameFiles(t: ExecutionContext, a: string, b: string): Promise<void> {
  t.is(await digest(a), await digest(b), `${a} and ${b} differ`);
}
