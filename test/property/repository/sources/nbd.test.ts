import test from 'ava';
import fc from 'fast-check';
import { parseNbdAddress } from '../../../../plugins/repository/sources/nbd/address.ts';
import {
  type Pending,
  ReplyParser,
} from '../../../../plugins/repository/sources/nbd/reply-parser.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import { seed } from '../../../support/block-shapes.ts';

function chunk(cookie: bigint, type: number, payload: Uint8Array, flags: number): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32BE(0x668e33ef, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeBigUInt64BE(cookie, 8);
  head.writeUInt32BE(payload.length, 16);
  return Buffer.concat([head, payload]);
}

/**
 * A parser with a read of 1000 bytes at 5000 (cookie 1) and a question about extents (cookie 2).
 */
function waiting() {
  const target = Buffer.alloc(1000 + 64, 0xaa);
  const settled: string[] = [];
  const contexts = new Map();
  const requests = new Map<bigint, Pending>([
    [
      1n,
      {
        kind: 'read',
        offset: 5000,
        target: target.subarray(32, 1032),
        settle: () => settled.push('read'),
      },
    ],
    [2n, { kind: 'status', offset: 0, contexts, settle: () => settled.push('status') }],
  ]);
  const parser = new ReplyParser('x', true, {
    find: (cookie) => requests.get(cookie),
    remove: (cookie) => requests.delete(cookie),
  });
  return { parser, target, settled, contexts };
}

function feed(parser: ReplyParser, bytes: Uint8Array, pieces: number[]) {
  let at = 0;
  for (const piece of [...pieces, bytes.length]) {
    parser.push(bytes.subarray(at, at + piece));
    at = Math.min(at + piece, bytes.length);
  }
}

const pieces = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 80 });

test('nbd: true replies are understood however they are cut and ordered', (t) => {
  const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 999 }), { maxLength: 6 });
  const property = fc.property(cuts, pieces, fc.boolean(), (places, sizes, statusFirst) => {
    const { parser, target, settled, contexts } = waiting();
    const edges = [0, ...places.toSorted((a, b) => a - b), 1000];
    const parts = edges.slice(1).map((end, i) => {
      const payload = Buffer.alloc(8 + end - edges[i]!, i + 1);
      payload.writeBigUInt64BE(BigInt(5000 + edges[i]!), 0);
      return chunk(1n, 1, payload, 0);
    });
    const status = Buffer.alloc(12);
    status.writeUInt32BE(9, 0);
    status.writeUInt32BE(77, 4);
    const read = Buffer.concat([...parts.reverse(), chunk(1n, 0, Buffer.alloc(0), 1)]);
    const extents = chunk(2n, 5, status, 1);
    feed(parser, Buffer.concat(statusFirst ? [extents, read] : [read, extents]), sizes);
    const filled = target.subarray(32, 1032).every((byte) => byte > 0 && byte < 0xaa);
    const expected = statusFirst ? ['status', 'read'] : ['read', 'status'];
    return filled && settled.join() === expected.join() && contexts.get(9)[0].length === 77;
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 300 }));
});

const hostileChunk = fc
  .record({
    cookie: fc.constantFrom(1n, 2n, 3n),
    type: fc.constantFrom(0, 1, 2, 5, 6, 0x8001, 0x8002, 0x8fff),
    flags: fc.constantFrom(0, 1, 0xffff),
    offset: fc.constantFrom(0n, 4999n, 5000n, 5500n, 6000n, 2n ** 64n - 1n),
    rest: fc.uint8Array({ maxLength: 1100 }),
    withOffset: fc.boolean(),
  })
  .map(({ cookie, type, flags, offset, rest, withOffset }) => {
    const head = Buffer.alloc(8);
    head.writeBigUInt64BE(offset, 0);
    return chunk(cookie, type, withOffset ? Buffer.concat([head, rest]) : rest, flags);
  });
const noise = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));

test('nbd: hostile replies are refused with an RpcError and write nowhere else', (t) => {
  const stream = fc.array(fc.oneof({ weight: 5, arbitrary: hostileChunk }, noise), {
    maxLength: 8,
  });
  const property = fc.property(stream, pieces, (chunks, sizes) => {
    const { parser, target } = waiting();
    try {
      feed(parser, Buffer.concat(chunks), sizes);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
    const outside = [...target.subarray(0, 32), ...target.subarray(1032)];
    return outside.every((byte) => byte === 0xaa);
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 2000 }));
});

test('nbd: any text is an address or refused with an RpcError', (t) => {
  const texts = fc.oneof(
    fc.string(),
    fc.webUrl(),
    fc.string().map((text) => `nbd://${text}`),
    fc.string().map((text) => `nbd+unix:///${text}?socket=${text}`),
  );
  const property = fc.property(texts, (text) => {
    try {
      const address = parseNbdAddress(text);
      return 'socketPath' in address ? address.socketPath !== '' : address.port >= 0;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      return true;
    }
  });
  fc.assert(property, { seed, numRuns: 1000 });
  t.deepEqual(parseNbdAddress('nbd+unix:///my%20disk?socket=/run/x.sock'), {
    socketPath: '/run/x.sock',
    exportName: 'my disk',
  });
  t.deepEqual(parseNbdAddress('nbd://host:99/'), { host: 'host', port: 99, exportName: '' });
});
