import assert from 'node:assert/strict';
import { failedPrecondition, permissionDenied } from '../../../sdk/errors.ts';
import { formatNbdAddress, type NbdAddress } from '../sources/nbd/address.ts';
import { NbdConnection } from '../sources/nbd/connection.ts';
import { limits, transmissionFlag } from '../sources/nbd/protocol.ts';
import type { BlockTarget } from './target.ts';

/** For each answer, in milliseconds: a server that makes gigabytes durable needs minutes. */
const answerMs = 5 * 60 * 1000;
const zeros = new Uint8Array(limits.readBytes);

/**
 * Writes an image over an NBD export, which must be as large or larger; what is beyond the image
 * becomes zero. Other than a file, an export has no fresh place: an abort or a crash leaves it
 * partly written. Writes must come in the order of the image. TARGET_UNWRITABLE
 * (PERMISSION_DENIED), TARGET_TOO_SMALL (FAILED_PRECONDITION) before anything is written.
 */
export async function createNbd(address: NbdAddress, sizeBytes: number): Promise<BlockTarget> {
  const connection = await NbdConnection.open(address, { contexts: [], timeoutMs: answerMs });
  try {
    check(connection, formatNbdAddress(address), sizeBytes);
    return new NbdTarget(connection);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

function check(connection: NbdConnection, path: string, sizeBytes: number): void {
  const { flags, sizeBytes: exported } = connection.negotiated;
  if ((flags & transmissionFlag.readOnly) !== 0) {
    throw permissionDenied('TARGET_UNWRITABLE', `${path} is a read-only export`, { path });
  }
  if (exported >= sizeBytes) return;
  const text = `${path} has ${exported} bytes, fewer than the image with ${sizeBytes}`;
  throw failedPrecondition('TARGET_TOO_SMALL', text, {
    path,
    targetBytes: String(exported),
    imageBytes: String(sizeBytes),
  });
}

class NbdTarget implements BlockTarget {
  readonly #connection: NbdConnection;
  /** Everything before is written. */
  #doneBytes = 0;

  constructor(connection: NbdConnection) {
    this.#connection = connection;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    assert(offset >= this.#doneBytes, 'writes come in the order of the image');
    await this.#zeroTo(offset);
    await this.#writePieces(offset, this.#aligned(offset, bytes));
    this.#doneBytes = offset + bytes.length;
  }

  async finish(): Promise<void> {
    const { flags, sizeBytes } = this.#connection.negotiated;
    await this.#zeroTo(sizeBytes);
    if ((flags & transmissionFlag.sendFlush) !== 0) await this.#connection.flush();
    await this.#connection.close();
  }

  async abort(): Promise<void> {
    await this.#connection.close();
  }

  // The server takes whole blocks only; the rest of the last one is beyond the image.
  #aligned(offset: number, bytes: Uint8Array): Uint8Array {
    const { blockMinBytes, sizeBytes } = this.#connection.negotiated;
    const length = Math.ceil(bytes.length / blockMinBytes) * blockMinBytes;
    if (length === bytes.length || offset + length > sizeBytes) return bytes;
    const whole = new Uint8Array(length);
    whole.set(bytes);
    return whole;
  }

  async #writePieces(offset: number, bytes: Uint8Array): Promise<void> {
    const { readMaxBytes } = this.#connection.negotiated;
    const writes: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += readMaxBytes) {
      writes.push(this.#connection.write(offset + at, bytes.subarray(at, at + readMaxBytes)));
    }
    await settled(writes);
  }

  /** The export is not fresh: a hole of the image has to be made. */
  async #zeroTo(end: number): Promise<void> {
    const { blockMinBytes, flags, sizeBytes } = this.#connection.negotiated;
    const start = Math.min(Math.ceil(this.#doneBytes / blockMinBytes) * blockMinBytes, sizeBytes);
    const canZero = (flags & transmissionFlag.sendWriteZeroes) !== 0;
    for (let at = start; at < end; ) {
      const length = Math.min(end - at, canZero ? limits.zeroBytes : zeros.length);
      if (canZero) await this.#connection.zero(at, length);
      else await this.#writePieces(at, zeros.subarray(0, length));
      at += length;
    }
    this.#doneBytes = Math.max(this.#doneBytes, end);
  }
}

/** All have ended when the first failure is told: their bytes belong to the caller again. */
async function settled(writes: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(writes);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}
