import { frameBytesMax, frameBytesMin, lineBytesMax, linesPerTickMax } from '../limits.ts';
import type { Disk } from './disk.ts';
import type { NetworkInterface } from './network.ts';
import type { SplitMix64 } from './random.ts';

/** What a guest's functions act on. */
export type Hardware = {
  disks: Disk[];
  interfaces: NetworkInterface[];
  random: SplitMix64;
  linesIn: string[];
  parameters: Record<string, string>;
  generationId: string;
  clockMs(): number;
  /** The guest's memory; throws while the guest must not act, as during its instantiation. */
  memory(): Uint8Array;
  send(from: NetworkInterface, frame: Uint8Array): void;
  log(text: string): void;
  channelWrite(line: string): void;
  powerOff(): void;
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The imports of a guest. An address, a length or an index that is out of range ends the guest: the
 * functions throw, and the exception leaves the guest's code.
 */
export function hostFunctions(hardware: Hardware): Record<string, (...values: never[]) => unknown> {
  return {
    ...diskFunctions(hardware),
    ...networkFunctions(hardware),
    ...channelFunctions(hardware),
    clock_ms: () => BigInt(Math.floor(hardware.clockMs())),
    random: () => BigInt.asIntN(64, hardware.random.next()),
    log: (source: number, length: number) => {
      hardware.log(decoder.decode(range(hardware, source, length, lineBytesMax)));
    },
    generation: (target: number, capacity: number) =>
      give(hardware, encoder.encode(hardware.generationId), target, capacity),
    parameter: (key: number, keyLength: number, target: number, capacity: number) => {
      const name = decoder.decode(range(hardware, key, keyLength, lineBytesMax));
      if (!Object.hasOwn(hardware.parameters, name)) return -1;
      const value = encoder.encode(hardware.parameters[name]);
      return give(hardware, value, target, capacity);
    },
    power_off: () => hardware.powerOff(),
  };
}

function diskFunctions(hardware: Hardware) {
  const disk = (index: number): Disk => {
    const found = hardware.disks[index];
    if (!found) throw new GuestFault(`disk ${index} is not there`);
    return found;
  };
  const transfer = (index: number, offset: bigint, address: number, length: number) => {
    const target = disk(index);
    const bytes = range(hardware, address, length, 2 ** 32);
    const start = Number(offset);
    if (offset < 0n || start + length > target.sizeBytes) {
      throw new GuestFault(`bytes ${offset}+${length} are outside of disk ${index}`);
    }
    return { target, bytes, start };
  };
  return {
    disk_count: () => hardware.disks.length,
    disk_size: (index: number) => BigInt(disk(index).sizeBytes),
    disk_read: (index: number, offset: bigint, address: number, length: number) => {
      const { target, bytes, start } = transfer(index, offset, address, length);
      return attempt(() => target.read(start, bytes));
    },
    disk_write: (index: number, offset: bigint, address: number, length: number) => {
      const { target, bytes, start } = transfer(index, offset, address, length);
      return attempt(() => target.write(start, bytes));
    },
    disk_flush: (index: number) => attempt(() => disk(index).flush()),
  };
}

function networkFunctions(hardware: Hardware) {
  const port = (index: number): NetworkInterface => {
    const found = hardware.interfaces[index];
    if (!found) throw new GuestFault(`network interface ${index} is not there`);
    return found;
  };
  return {
    net_count: () => hardware.interfaces.length,
    net_mac: (index: number, target: number) => {
      range(hardware, target, 6, 6).set(port(index).mac);
    },
    net_send: (index: number, source: number, length: number) => {
      if (length < frameBytesMin) throw new GuestFault(`a frame of ${length} bytes is too short`);
      // A copy: the guest goes on to change its memory while the frame waits.
      hardware.send(port(index), range(hardware, source, length, frameBytesMax).slice());
    },
    net_receive: (index: number, target: number, capacity: number) => {
      const frame = port(index).queue.shift();
      return frame === undefined ? -1 : give(hardware, frame, target, capacity);
    },
  };
}

function channelFunctions(hardware: Hardware) {
  return {
    channel_read: (target: number, capacity: number) => {
      const line = hardware.linesIn.shift();
      return line === undefined ? -1 : give(hardware, encoder.encode(line), target, capacity);
    },
    channel_write: (source: number, length: number) => {
      const text = decoder.decode(range(hardware, source, length, lineBytesMax));
      if (text.includes('\n')) throw new GuestFault('a line of the VNF channel has a line end');
      hardware.channelWrite(text);
    },
  };
}

/** Something that a guest did and may not do. */
export class GuestFault extends Error {}

/** Bounds the lines that a guest writes in one tick. */
export function lineBudget(): () => void {
  let used = 0;
  return () => {
    if (++used > linesPerTickMax) throw new GuestFault('too many lines in one tick');
  };
}

function range(hardware: Hardware, address: number, length: number, lengthMax: number): Uint8Array {
  const memory = hardware.memory();
  // Guests pass unsigned 32-bit numbers, which arrive signed.
  const start = address >>> 0;
  if (length < 0 || length > lengthMax || start + length > memory.length) {
    throw new GuestFault(`memory ${start}+${length} is out of range`);
  }
  return memory.subarray(start, start + length);
}

function give(hardware: Hardware, bytes: Uint8Array, target: number, capacity: number): number {
  const room = range(hardware, target, capacity, 2 ** 32);
  const length = Math.min(bytes.length, room.length);
  room.set(bytes.subarray(0, length));
  return length;
}

/** A host that cannot read or write is a broken disk to the guest, which decides what to do. */
function attempt(work: () => void): number {
  try {
    work();
    return 0;
  } catch {
    return -1;
  }
}
