import { dataLoss, failedPrecondition } from '../../../../sdk/errors.ts';
import {
  deviceStateBytesMax,
  frameBytesMax,
  frameBytesMin,
  framesQueuedMax,
  lineBytesMax,
  linesQueuedMax,
} from '../limits.ts';

/** Everything of a guest that is not in its memory and not on its disks. */
export type DeviceState = {
  programId: string;
  ticks: number;
  /** The state of the generator, 64 bits. */
  random: bigint;
  /** Frames that wait, for each interface. */
  frames: Uint8Array[][];
  /** Lines that wait on the VNF channel. */
  lines: string[];
  /** Exported mutable globals; 64-bit ones as bigint. */
  globals: Record<string, number | bigint>;
};

const format = 'micromano-wasmvm-device-state';
const version = 1;

/** Writes a device state as JSON: it is small, and people can read it. */
export function encodeDeviceState(state: DeviceState): Uint8Array {
  const text = JSON.stringify({
    format,
    version,
    programId: state.programId,
    ticks: state.ticks,
    random: state.random.toString(16),
    frames: state.frames.map((queue) =>
      queue.map((frame) => Buffer.from(frame).toString('base64')),
    ),
    lines: state.lines,
    globals: Object.fromEntries(
      Object.entries(state.globals).map(([name, value]) => [name, encodeGlobal(value)]),
    ),
  });
  return new TextEncoder().encode(text);
}

/**
 * Reads a device state, which may come from somebody else's archive. DATA_LOSS with reason
 * DEVICE_STATE_DAMAGED for anything that this driver has not written; FAILED_PRECONDITION with
 * reason INCOMPATIBLE for another version.
 */
export function decodeDeviceState(bytes: Uint8Array): DeviceState {
  if (bytes.length > deviceStateBytesMax) throw damaged(`it has ${bytes.length} bytes`);
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw damaged('it is not JSON');
  }
  if (typeof value !== 'object' || value === null || value.format !== format) {
    throw damaged('it is not one of wasmvm');
  }
  if (value.version !== version) {
    const text = `the device state has version ${String(value.version)}, not ${version}`;
    throw failedPrecondition('INCOMPATIBLE', text, { version: String(value.version) });
  }
  return {
    programId: text(value.programId, /^[0-9a-f]{64}$/, 'programId'),
    ticks: ticks(value.ticks),
    random: BigInt(`0x${text(value.random, /^[0-9a-f]{1,16}$/, 'random')}`),
    frames: list(value.frames, 16, 'frames').map((queue) =>
      list(queue, framesQueuedMax, 'frames').map(decodeFrame),
    ),
    lines: list(value.lines, linesQueuedMax, 'lines').map((line) => text(line, /^.*$/s, 'lines')),
    globals: decodeGlobals(value.globals),
  };
}

function decodeFrame(value: unknown): Uint8Array {
  const frame = Buffer.from(text(value, /^[A-Za-z0-9+/]*={0,2}$/, 'frames'), 'base64');
  if (frame.length < frameBytesMin || frame.length > frameBytesMax) throw damaged('frames');
  return new Uint8Array(frame);
}

/** Numbers travel as text with their exact value; NaN and infinities too. */
function encodeGlobal(value: number | bigint): string {
  if (typeof value === 'bigint') return `${value}n`;
  return Object.is(value, -0) ? '-0' : String(value);
}

function decodeGlobals(value: unknown): Record<string, number | bigint> {
  if (typeof value !== 'object' || value === null) throw damaged('globals');
  const globals: Record<string, number | bigint> = {};
  for (const [name, item] of Object.entries(value)) {
    const written = text(item, /^(-?\d+n|-?\d+(\.\d+)?(e[+-]?\d+)?|NaN|-?Infinity)$/, 'globals');
    globals[name] = written.endsWith('n') ? BigInt(written.slice(0, -1)) : Number(written);
  }
  return globals;
}

function ticks(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw damaged('ticks');
  return value as number;
}

function text(value: unknown, pattern: RegExp, what: string): string {
  if (typeof value !== 'string' || value.length > lineBytesMax || !pattern.test(value)) {
    throw damaged(what);
  }
  return value;
}

function list(value: unknown, itemsMax: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > itemsMax) throw damaged(what);
  return value;
}

function damaged(what: string) {
  const message = `the device state is damaged: ${what}`;
  return dataLoss('DEVICE_STATE_DAMAGED', message, { what });
}
