import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalidArgument } from '../../../sdk/errors.ts';
import { stallMsDefault, tickMsDefault } from './limits.ts';

/** How an operator sets a wasmvm driver up. */
export type WasmvmConfig = {
  /**
   * Where images are looked for by name, in this order. Default: the guests that come with the
   * project.
   */
  imageFolders: string[];
  /** The time between two ticks of a guest, in milliseconds, 1 to 1000. */
  tickMs: number;
  /** Decides the interleaving of the guests and their randomness; absent: they take turns. */
  schedule?: { seed: bigint };
  /** How long a guest may compute in one tick, in milliseconds, 1000 to 600000. */
  stallMs: number;
  /** Where callers may have snapshots kept: absolute paths. Default: nowhere. */
  snapshotFolders: string[];
};

const known = ['imageFolders', 'tickMs', 'schedule', 'stallMs', 'snapshotFolders'];
const builtInImages = fileURLToPath(new URL('../../../build/guests', import.meta.url));

/**
 * Checks `{imageFolders?, tickMs?, schedule?: {seed}, stallMs?, snapshotFolders?}`; the seed is a whole number.
 * INVALID_ARGUMENT with reason CONFIG_INVALID and the path for anything else.
 */
export function parseConfig(value: unknown): WasmvmConfig {
  const config = record(value ?? {}, '');
  refuseUnknown(config, known, '');
  const parsed: WasmvmConfig = {
    imageFolders: paths(config.imageFolders ?? [builtInImages], 'imageFolders'),
    snapshotFolders: paths(config.snapshotFolders ?? [], 'snapshotFolders'),
    tickMs: whole(config.tickMs ?? tickMsDefault, 1, 1000, 'tickMs'),
    stallMs: whole(config.stallMs ?? stallMsDefault, 1000, 600_000, 'stallMs'),
  };
  if (config.schedule === undefined) return parsed;
  const schedule = record(config.schedule, 'schedule');
  refuseUnknown(schedule, ['seed'], 'schedule.');
  const seed = whole(schedule.seed, 0, Number.MAX_SAFE_INTEGER, 'schedule.seed');
  return { ...parsed, schedule: { seed: BigInt(seed) } };
}

function record(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(path || 'config', 'must be an object');
  }
  return value as Record<string, unknown>;
}

function paths(value: unknown, path: string): string[] {
  const isPath = (item: unknown) => typeof item === 'string' && isAbsolute(item);
  if (Array.isArray(value) && value.every(isPath)) return value;
  throw wrong(path, 'must be a list of absolute paths');
}

function refuseUnknown(value: Record<string, unknown>, known: string[], prefix: string): void {
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw wrong(`${prefix}${key}`, `is not known; known are ${known.join(', ')}`);
    }
  }
}

function whole(value: unknown, min: number, max: number, path: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
    throw wrong(path, `must be a whole number from ${min} to ${max}`);
  }
  return value as number;
}

function wrong(path: string, rule: string) {
  return invalidArgument('CONFIG_INVALID', `wasmvm: ${path} ${rule}`, { path });
}
