import { randomBytes, randomUUID } from 'node:crypto';

/** Randomness, as a port, so that a test or a simulation can fix it. */
export interface Random {
  /** Unpredictable bytes. */
  bytes(count: number): Uint8Array;
  /** A UUID version 4. */
  uuid(): string;
  /** A number in [0, 1). */
  fraction(): number;
}

/** The operating system's generator. */
export const systemRandom: Random = {
  bytes: (count) => new Uint8Array(randomBytes(count)),
  uuid: () => randomUUID(),
  fraction: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
};
