import net from 'node:net';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import fc from 'fast-check';
import { JsonLineSocket } from '../../../../plugins/drivers/qemu/channels/json-lines.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

/** A line that holds no JSON object: a guest chooses the bytes of its agent. */
const garbage = fc
  .uint8Array({ maxLength: 40 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 10 || byte === 0x7b ? 0 : byte))));
const message = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 });
const line = fc.oneof(
  message.map((object) => ({ object, bytes: Buffer.from(JSON.stringify(object)) })),
  garbage.map((bytes) => ({ object: undefined, bytes })),
);

test('JsonLineSocket: every object arrives once and in order, whatever lies between and however it is cut', async (t) => {
  const path = join(await tempFolder(t), 'a.sock');
  const listener = net.createServer().listen(path);
  await new Promise((resolve) => listener.once('listening', resolve));
  t.teardown(() => listener.close());
  const cases = fc.tuple(fc.array(line, { maxLength: 20 }), fc.array(fc.nat(200)));
  const property = fc.asyncProperty(cases, async ([lines, cuts]) => {
    const accepted = new Promise<net.Socket>((resolve) => listener.once('connection', resolve));
    const socket = await JsonLineSocket.connect(path, 1000);
    const server = await accepted;
    const received: object[] = [];
    const ended = new Promise<void>((resolve) => {
      socket.onEnd = () => resolve();
    });
    socket.onMessage = (object) => received.push(object);
    let rest = Buffer.concat(lines.flatMap(({ bytes }) => [bytes, Buffer.from('\n')]));
    for (const cut of cuts) {
      server.write(rest.subarray(0, cut));
      rest = rest.subarray(cut);
      await setImmediate();
    }
    server.end(rest);
    await ended;
    const sent = lines.flatMap(({ object }) => (object === undefined ? [] : [object]));
    // As JSON, which knows no -0.
    t.is(JSON.stringify(received), JSON.stringify(sent));
  });
  await fc.assert(property, { seed, numRuns: 200 });
  t.log(`seed ${seed}`);
});
