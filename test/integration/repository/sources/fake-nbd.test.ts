import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openNbd } from '../../../../plugins/repository/sources/nbd/source.ts';
import { Code } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { readByExtents } from './images.ts';

type Request = { type: number; cookie: bigint; offset: number; length: number };
type Answer = (socket: Socket, request: Request) => void;
type Plan = {
  greeting?: Buffer;
  sizeBytes?: bigint;
  answer?: Answer;
  /** Instead of the right answer to an option of this number. */
  option?: (socket: Socket, type: number) => boolean;
};

const greeting = Buffer.from('4e42444d4147494349484156454f50540003', 'hex');

function optionReply(type: number, reply: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(0x0003e889045565a9n, 0);
  head.writeUInt32BE(type, 8);
  head.writeUInt32BE(reply >>> 0, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}

function chunk(
  cookie: bigint,
  type: number,
  payload: Uint8Array,
  flags = 1,
  length = payload.length,
) {
  const head = Buffer.alloc(20);
  head.writeUInt32BE(0x668e33ef, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeBigUInt64BE(cookie, 8);
  head.writeUInt32BE(length, 16);
  return Buffer.concat([head, payload]);
}

function data(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(8 + length, 7);
  bytes.writeBigUInt64BE(BigInt(offset), 0);
  return bytes;
}

function extents(context: number, ...pairs: [number, number][]): Buffer {
  const bytes = Buffer.alloc(4 + pairs.length * 8);
  bytes.writeUInt32BE(context, 0);
  for (const [i, [length, state]] of pairs.entries()) {
    bytes.writeUInt32BE(length, 4 + i * 8);
    bytes.writeUInt32BE(state, 8 + i * 8);
  }
  return bytes;
}

/** Speaks NBD as planned, truthfully where the plan says nothing. */
function converse(socket: Socket, plan: Plan) {
  let bytes = Buffer.alloc(0);
  let phase: 'flags' | 'options' | 'requests' = 'flags';
  socket.on('error', () => undefined);
  socket.write(plan.greeting ?? greeting);
  const step = (): boolean => {
    if (phase === 'flags' && bytes.length >= 4) {
      bytes = bytes.subarray(4);
      phase = 'options';
      return true;
    }
    if (phase === 'options' && bytes.length >= 16 && bytes.length >= 16 + bytes.readUInt32BE(12)) {
      const type = bytes.readUInt32BE(8);
      bytes = bytes.subarray(16 + bytes.readUInt32BE(12));
      if (plan.option?.(socket, type)) return true;
      if (type === 10) {
        const context = Buffer.concat([Buffer.from([0, 0, 0, 5]), Buffer.from('base:allocation')]);
        socket.write(optionReply(type, 4, context));
      }
      if (type === 7) {
        const info = Buffer.alloc(12);
        info.writeBigUInt64BE(plan.sizeBytes ?? 1_000_000n, 2);
        socket.write(optionReply(type, 3, info));
        phase = 'requests';
      }
      socket.write(optionReply(type, 1));
      return true;
    }
    if (phase === 'requests' && bytes.length >= 28) {
      const request = {
        type: bytes.readUInt16BE(6),
        cookie: bytes.readBigUInt64BE(8),
        offset: Number(bytes.readBigUInt64BE(16)),
        length: bytes.readUInt32BE(24),
      };
      bytes = bytes.subarray(28);
      if (request.type !== 2) plan.answer?.(socket, request);
      return true;
    }
    return false;
  };
  socket.on('data', (more: Buffer) => {
    bytes = Buffer.concat([bytes, more]);
    while (step());
  });
}

async function fake(t: ExecutionContext, plan: Plan) {
  const socketPath = join(await tempFolder(t), 'fake.sock');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    converse(socket, plan);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { socketPath, exportName: '' };
}

const violation = { code: Code.DATA_LOSS, reason: 'NBD_PROTOCOL_VIOLATION' };

const lies: [string, Answer][] = [
  [
    'answers a cookie nobody used',
    (socket, { cookie, offset, length }) =>
      socket.write(chunk(cookie + 1n, 1, data(offset, length))),
  ],
  [
    'sends more data than asked',
    (socket, { cookie, offset, length }) =>
      socket.write(chunk(cookie, 1, data(offset, length + 1))),
  ],
  [
    'claims a reply of 4 GiB',
    (socket, { cookie }) => socket.write(chunk(cookie, 1, data(0, 1), 1, 0xffffffff)),
  ],
  [
    'sends data for another offset',
    (socket, { cookie, length }) => socket.write(chunk(cookie, 1, data(999_999, length))),
  ],
  [
    'sends data before the offset',
    (socket, { cookie, offset, length }) =>
      socket.write(chunk(cookie, 1, data(offset - 1, length))),
  ],
  [
    'ends before all data came',
    (socket, { cookie, offset, length }) =>
      socket.write(chunk(cookie, 1, data(offset, length - 1))),
  ],
  [
    'sends the same data twice',
    (socket, { cookie, offset, length }) =>
      socket.write(
        Buffer.concat([
          chunk(cookie, 1, data(offset, length), 0),
          chunk(cookie, 1, data(offset, 1)),
        ]),
      ),
  ],
  ['sends nothing at all', (socket, { cookie }) => socket.write(chunk(cookie, 0, Buffer.alloc(0)))],
  [
    'answers with extents',
    (socket, { cookie }) => socket.write(chunk(cookie, 5, extents(5, [100, 0]))),
  ],
  [
    'claims a hole beyond what was asked',
    (socket, { cookie, offset, length }) => {
      const hole = Buffer.alloc(12);
      hole.writeBigUInt64BE(BigInt(offset), 0);
      hole.writeUInt32BE(length + 1, 8);
      socket.write(chunk(cookie, 2, hole));
    },
  ],
  [
    'uses an unknown type',
    (socket, { cookie }) => socket.write(chunk(cookie, 77, Buffer.alloc(9))),
  ],
  ['sends noise', (socket) => socket.write(Buffer.alloc(64, 0x55))],
  [
    'answers simply without data',
    (socket, { cookie }) => {
      const bytes = Buffer.alloc(16);
      bytes.writeUInt32BE(0x67446698, 0);
      bytes.writeBigUInt64BE(cookie, 8);
      socket.write(bytes);
    },
  ],
];
for (const [title, answer] of lies) {
  test(`nbd: a server that ${title} is refused`, async (t) => {
    const source = await openNbd(await fake(t, { answer }));
    t.teardown(() => source.close());
    await throwsRpc(t, source.read(4096, new Uint8Array(4096)), violation);
    await throwsRpc(t, source.read(4096, new Uint8Array(4096)), violation);
  });
}

const badExtents: [string, Buffer | ((request: Request) => Buffer)][] = [
  ['an empty extent', extents(5, [0, 0])],
  ['an unknown context only', extents(6, [1_000_000, 0])],
];
for (const [title, payload] of badExtents) {
  test(`nbd: a server that sends ${title} is refused`, async (t) => {
    const address = await fake(t, {
      answer: (socket, request) => {
        const bytes = typeof payload === 'function' ? payload(request) : payload;
        socket.write(chunk(request.cookie, 5, bytes));
      },
    });
    const source = await openNbd(address);
    t.teardown(() => source.close());
    await throwsRpc(t, readByExtents(source), violation);
  });
}

test('nbd: an extent that reaches beyond the export is cut at its end', async (t) => {
  const answer: Answer = (socket, { cookie }) =>
    socket.write(chunk(cookie, 5, extents(5, [4096, 0], [0xffffffff, 3])));
  const source = await openNbd(await fake(t, { answer }));
  t.teardown(() => source.close());
  const found = [];
  for await (const extent of source.extents()) found.push(extent);
  t.deepEqual(found, [
    { offset: 0, length: 4096, kind: 'data' },
    { offset: 4096, length: 1_000_000 - 4096, kind: 'zero' },
  ]);
});

test('nbd: pieces of a reply in any order, holes and delayed bytes give the data', async (t) => {
  const answer: Answer = (socket, { cookie, offset, length }) => {
    const hole = Buffer.alloc(12);
    hole.writeBigUInt64BE(BigInt(offset + 100), 0);
    hole.writeUInt32BE(200, 8);
    const bytes = Buffer.concat([
      chunk(cookie, 1, data(offset + 300, length - 300), 0),
      chunk(cookie, 2, hole, 0),
      chunk(cookie, 1, data(offset, 100), 0),
      chunk(cookie, 0, Buffer.alloc(0)),
    ]);
    for (let at = 0; at < bytes.length; at += 61) socket.write(bytes.subarray(at, at + 61));
  };
  const source = await openNbd(await fake(t, { answer }));
  t.teardown(() => source.close());
  const target = new Uint8Array(1000).fill(1);
  await source.read(5000, target);
  t.true(target.subarray(0, 100).every((byte) => byte === 7));
  t.true(target.subarray(100, 300).every((byte) => byte === 0));
  t.true(target.subarray(300).every((byte) => byte === 7));
});

test('nbd: an error of the server is DATA_LOSS with its number, and the connection goes on', async (t) => {
  let failing = true;
  const answer: Answer = (socket, { cookie, offset, length }) => {
    const error = Buffer.from([0, 0, 0, 5, 0, 3, 0x62, 0x61, 0x64]);
    socket.write(
      failing
        ? chunk(cookie, 0x8001, error.subarray(0, 9))
        : chunk(cookie, 1, data(offset, length)),
    );
    failing = false;
  };
  const source = await openNbd(await fake(t, { answer }));
  t.teardown(() => source.close());
  const expected = { code: Code.DATA_LOSS, reason: 'SOURCE_READ_FAILED' };
  const error = await throwsRpc(t, source.read(512, new Uint8Array(512)), expected);
  t.is(error.metadata.errno, '5');
  await source.read(512, new Uint8Array(512));
});

test('nbd: a server that stalls is given up after the deadline', async (t) => {
  const late = { code: Code.DEADLINE_EXCEEDED, reason: 'NBD_TIMEOUT' };
  const source = await openNbd(await fake(t, { answer: () => undefined }), { timeoutMs: 2000 });
  t.teardown(() => source.close());
  await throwsRpc(t, source.read(0, new Uint8Array(3_000_000)), late);
  const silent = await fake(t, { greeting: Buffer.alloc(0) });
  await throwsRpc(t, openNbd(silent, { timeoutMs: 100 }), late);
});

test('nbd: a handshake that lies is refused', async (t) => {
  const plans: Plan[] = [
    { greeting: Buffer.alloc(18) },
    { greeting: Buffer.from('4e42444d4147494349484156454f50540000', 'hex') },
    { sizeBytes: 2n ** 63n },
    { option: (socket, type) => socket.write(optionReply(type + 1, 1)) || true },
    { option: (socket) => socket.write(Buffer.alloc(20)) || true },
    {
      option: (socket, type) => {
        if (type !== 7) return false;
        socket.write(optionReply(type, 1));
        return true;
      },
    },
    {
      option: (socket, type) => {
        for (let i = 0; i < 100; i += 1) socket.write(optionReply(type, 3, Buffer.alloc(3)));
        return true;
      },
    },
    {
      option: (socket, type) => {
        if (type !== 10) return false;
        socket.write(optionReply(type, 4, Buffer.from('....other:context')));
        socket.write(optionReply(type, 1));
        return true;
      },
    },
  ];
  for (const plan of plans) await throwsRpc(t, openNbd(await fake(t, plan)), violation);
});

test('nbd: without structured replies the export still reads', async (t) => {
  const address = await fake(t, {
    option: (socket, type) => {
      if (type !== 8) return false;
      socket.write(optionReply(type, 0x80000001));
      return true;
    },
    answer: (socket, { cookie, length }) => {
      const head = Buffer.alloc(16);
      head.writeUInt32BE(0x67446698, 0);
      head.writeBigUInt64BE(cookie, 8);
      socket.write(Buffer.concat([head, Buffer.alloc(length, 8)]));
    },
  });
  const source = await openNbd(address);
  t.teardown(() => source.close());
  const whole = await readByExtents(source);
  t.true(whole.every((byte) => byte === 8));
});
