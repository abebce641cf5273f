import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { DiskExtent, ServedDisk } from '../../../../plugins/repository/nbd-server/disk.ts';
import {
  parseContextOption,
  parseInfoOption,
} from '../../../../plugins/repository/nbd-server/option-data.ts';
import { parseRequest, refuse } from '../../../../plugins/repository/nbd-server/request.ts';
import { ScratchDisk } from '../../../../plugins/repository/nbd-server/scratch-disk.ts';
import { ScratchFile } from '../../../../plugins/repository/nbd-server/scratch-file.ts';
import { NbdServer } from '../../../../plugins/repository/nbd-server/server.ts';
import { openNbd } from '../../../../plugins/repository/sources/nbd/source.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const block = 65536;
const sizeBytes = 5 * block + 700;
const plain = Uint8Array.from({ length: sizeBytes }, (_, at) =>
  Math.floor(at / block) % 2 === 1 ? 0 : (at * 7) % 251,
);

/** What a package is to the server, from memory: every second block is a hole. */
const memoryDisk: ServedDisk = {
  sizeBytes,
  async read(offset, length) {
    const bytes = plain.slice(offset, offset + length);
    return { parts: [{ length, bytes }], release: () => bytes.fill(0xee) };
  },
  async *extents(offset, length): AsyncGenerator<DiskExtent> {
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, (Math.floor(at / block) + 1) * block);
      yield { length: end - at, isZero: Math.floor(at / block) % 2 === 1 };
      at = end;
    }
  },
};

async function startServer(t: ExecutionContext) {
  const socketPath = join(await tempFolder(t), 's');
  const disks = new Map([['d', memoryDisk]]);
  const server = await NbdServer.start({ disks, listen: { socketPath }, onFault: () => undefined });
  t.teardown(() => server.close());
  return { server, socketPath };
}

function option(type: number, data: Uint8Array, length = data.length): Buffer {
  const head = Buffer.alloc(16);
  head.write('IHAVEOPT', 'latin1');
  head.writeUInt32BE(type, 8);
  head.writeUInt32BE(length, 12);
  return Buffer.concat([head, data]);
}

function request(type: number, flags: number, offset: bigint, length: number): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeBigUInt64BE(offset, 16);
  head.writeUInt32BE(length, 24);
  return head;
}

const flags = Buffer.from([0, 0, 0, 3]);
const ready = Buffer.concat([flags, option(8, Buffer.alloc(0)), option(7, Buffer.alloc(6))]);
const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const lengths = fc.constantFrom(0, 1, 512, block, sizeBytes, 2 ** 25, 2 ** 25 + 1, 2 ** 32 - 1);
const anyOption = fc
  .tuple(fc.constantFrom(1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 2 ** 32 - 1), noise, lengths, fc.boolean())
  .map(([type, data, length, lies]) => option(type, data, lies ? length : data.length));
const anyRequest = fc
  .tuple(
    fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8, 65535),
    fc.constantFrom(0, 1, 4, 8, 65535),
    fc.constantFrom(0n, 1n, BigInt(block), BigInt(sizeBytes) - 1n, 2n ** 64n - 1n),
    lengths,
  )
  .map((words) => request(...words));
const talk = fc.oneof(
  noise,
  fc.array(anyOption, { maxLength: 6 }).map((all) => Buffer.concat([flags, ...all])),
  fc
    .array(fc.oneof({ weight: 6, arbitrary: anyRequest }, noise), { maxLength: 12 })
    .map((all) => Buffer.concat([ready, ...all])),
);

/** Says it, then leaves: politely, suddenly, or without having listened. */
async function say(path: string, bytes: Buffer, manner: 'end' | 'destroy' | 'deaf'): Promise<void> {
  const socket: Socket = connect(path);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  if (manner !== 'deaf') socket.resume();
  socket.write(bytes, () => {
    if (manner === 'end') socket.end();
    else setTimeout(() => socket.destroy(), 2);
  });
  await closed;
}

test('nbd-server: whatever clients say, others are served, and nobody is left behind', async (t) => {
  const { server, socketPath } = await startServer(t);
  const manners = fc.constantFrom('end' as const, 'destroy' as const, 'deaf' as const);
  const property = fc.asyncProperty(talk, manners, (bytes, manner) =>
    say(socketPath, bytes, manner),
  );
  await fc.assert(property, { seed, numRuns: 400 });
  const source = await openNbd({ socketPath, exportName: 'd' });
  const target = new Uint8Array(sizeBytes);
  await source.read(0, target);
  t.deepEqual(Buffer.compare(target, plain), 0);
  const kinds: string[] = [];
  for await (const { kind } of source.extents()) kinds.push(kind);
  t.is(kinds.join(), 'data,zero,data,zero,data,zero');
  await source.close();
  await server.close();
  t.is(server.clientCount, 0);
});

test('nbd-server: any bytes are an option or a request, or refused with an RpcError', (t) => {
  const agreed = { sizeBytes, isWritable: true, readBytesMax: 2 ** 25, hasStatus: true };
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 28, maxLength: 28 }).map((some) => Buffer.from(some)),
    anyRequest,
  );
  const property = fc.property(bytes, noise, (head, data) => {
    const options = [parseInfoOption(data), parseContextOption(data)];
    if (options.some((found) => found && found.exportName.length > data.length)) return false;
    try {
      const asked = parseRequest(head, 'x');
      const isAllowed = refuse(asked, agreed) === undefined;
      const isRanged = ![2, 3].includes(asked.type);
      return !isAllowed || !isRanged || asked.offset + asked.length <= sizeBytes;
    } catch (error) {
      return error instanceof RpcError;
    }
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 3000 }));
});

const place = fc
  .tuple(fc.integer({ min: 0, max: sizeBytes - 1 }), fc.integer({ min: 1, max: 2 * block + 9 }))
  .map(([offset, length]) => ({ offset, length: Math.min(length, sizeBytes - offset) }));
const wholeBlocks = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 }))
  .map(([first, count]) => ({
    offset: first * block,
    length: Math.min(count * block, sizeBytes - first * block),
  }));
const step = fc.record({
  kind: fc.constantFrom('write', 'zero', 'trim', 'read', 'reopen'),
  where: fc.oneof(place, wholeBlocks),
  byte: fc.integer({ min: 1, max: 255 }),
});

test('nbd-server: a disk with scratch does what an array in memory does, also when reopened', async (t) => {
  const folder = await tempFolder(t);
  let count = 0;
  const run = async (
    steps: { kind: string; where: { offset: number; length: number }; byte: number }[],
  ) => {
    count += 1;
    const path = join(folder, `scratch-${count}`);
    const base = { packageId: 'p', image: 'd', root: 'r', logicalBytes: sizeBytes };
    let file = await ScratchFile.kept(path, base);
    let disk = new ScratchDisk(memoryDisk, file);
    const model = plain.slice();
    try {
      for (const { kind, where, byte } of steps) {
        const { offset, length } = where;
        const end = offset + length;
        if (kind === 'write') {
          await disk.write(offset, new Uint8Array(length).fill(byte));
          model.fill(byte, offset, end);
        } else if (kind === 'zero') {
          await disk.zero(offset, length);
          model.fill(0, offset, end);
        } else if (kind === 'trim') {
          await disk.trim(offset, length);
          const last = end === sizeBytes ? end : Math.floor(end / block) * block;
          const first = Math.ceil(offset / block) * block;
          if (last > first) model.fill(0, first, last);
        } else if (kind === 'reopen') {
          await disk.flush();
          await file.close();
          file = await ScratchFile.kept(path, base);
          disk = new ScratchDisk(memoryDisk, file);
        }
        if (Buffer.compare(await contents(disk), model) !== 0) return false;
      }
      return true;
    } finally {
      await file.close();
    }
  };
  const property = fc.asyncProperty(fc.array(step, { maxLength: 12 }), run);
  await t.notThrowsAsync(() => fc.assert(property, { seed, numRuns: 60 }));
});

/** By its extents: what they call zero is not read. */
async function contents(disk: ServedDisk): Promise<Uint8Array> {
  const whole = new Uint8Array(sizeBytes);
  let at = 0;
  for await (const { length, isZero } of disk.extents(0, sizeBytes)) {
    if (!isZero) {
      const { parts, release } = await disk.read(at, length);
      let within = at;
      for (const part of parts) {
        if (part.bytes) whole.set(part.bytes, within);
        within += part.length;
      }
      release();
    }
    at += length;
  }
  return whole;
}

test('nbd-server: writes and zeroes at once in one block all happen', async (t) => {
  const file = await ScratchFile.temporary({
    packageId: 'p',
    image: 'd',
    root: 'r',
    logicalBytes: sizeBytes,
  });
  t.teardown(() => file.close());
  const disk = new ScratchDisk(memoryDisk, file);
  const parts = Array.from({ length: 32 }, (_, index) => index * 2048);
  await Promise.all([
    ...parts.map((at) => disk.write(2 * block + at, new Uint8Array(1024).fill(1))),
    ...parts.map((at) => disk.zero(2 * block + at + 1024, 512)),
  ]);
  const whole = await contents(disk);
  for (const at of parts) {
    const part = whole.subarray(2 * block + at, 2 * block + at + 2048);
    t.true(part.subarray(0, 1024).every((byte) => byte === 1));
    t.true(part.subarray(1024, 1536).every((byte) => byte === 0));
    const from = 2 * block + at + 1536;
    t.is(Buffer.compare(part.subarray(1536), plain.subarray(from, from + 512)), 0);
  }
});
