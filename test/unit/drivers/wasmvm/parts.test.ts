import test from 'ava';
import { parseConfig } from '../../../../plugins/drivers/wasmvm/config.ts';
import { NetworkInterface, Switch } from '../../../../plugins/drivers/wasmvm/machine/network.ts';
import { seededSchedule, takeTurns } from '../../../../plugins/drivers/wasmvm/machine/schedule.ts';
import { Outcomes } from '../../../../plugins/drivers/wasmvm/outcomes.ts';
import { Watchers } from '../../../../plugins/drivers/wasmvm/watchers.ts';
import { Code } from '../../../../sdk/errors.ts';
import { KeyedLock } from '../../../../sdk/keyed-lock.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

test('parseConfig: unknown keys, wrong types and ranges are CONFIG_INVALID and name the path', async (t) => {
  t.is(parseConfig(undefined).schedule, undefined);
  t.is(parseConfig({ schedule: { seed: 7 } }).schedule?.seed, 7n);
  const wrong: [unknown, string][] = [
    [[], 'config'],
    [{ ticks: 1 }, 'ticks'],
    [{ tickMs: 0 }, 'tickMs'],
    [{ tickMs: '5' }, 'tickMs'],
    [{ imageFolders: ['relative'] }, 'imageFolders'],
    [{ schedule: {} }, 'schedule.seed'],
    [{ schedule: { seed: 1, more: 2 } }, 'schedule.more'],
  ];
  for (const [config, path] of wrong) {
    const expected = { code: Code.INVALID_ARGUMENT, reason: 'CONFIG_INVALID' };
    t.is((await throwsRpc(t, () => parseConfig(config), expected)).metadata.path, path);
  }
});

test('KeyedLock: work on a shared key never overlaps, and crossing keys never wait for each other', async (t) => {
  const lock = new KeyedLock();
  const inside = new Set<string>();
  const work = (keys: string[]) =>
    lock.run(keys, async () => {
      for (const key of keys) t.false(inside.has(key));
      for (const key of keys) inside.add(key);
      await new Promise((resolve) => setImmediate(resolve));
      for (const key of keys) inside.delete(key);
    });
  await Promise.all([work(['a', 'b']), work(['b', 'a']), work(['a']), work(['b', 'c', 'b'])]);
  t.is(inside.size, 0);
});

test('KeyedLock: work that fails lets the next one in', async (t) => {
  const lock = new KeyedLock();
  await t.throwsAsync(lock.run(['a'], () => Promise.reject(new Error('no'))));
  t.is(await lock.run(['a'], async () => 7), 7);
});

test('Outcomes: a repeat has the first outcome, a failure may be repeated, what is forgotten is done anew', async (t) => {
  const outcomes = new Outcomes();
  const call = { operationId: 'o', stepId: 's' };
  let count = 0;
  const next = async () => ++count;
  t.deepEqual(
    await Promise.all([outcomes.run('m', 'c', call, next), outcomes.run('m', 'c', call, next)]),
    [1, 1],
  );
  t.is(await outcomes.run('other', 'c', call, next), 2);
  t.is(await outcomes.run('m', 'c', undefined, next), 3);
  const failing = () => outcomes.run('m', 'd', call, () => Promise.reject(new Error('no')));
  await t.throwsAsync(failing());
  t.is(await outcomes.run('m', 'd', call, next), 4);
  outcomes.forget('c');
  t.is(await outcomes.run('m', 'c', call, next), 5);
  t.is(await outcomes.run('m', 'd', call, next), 4);
});

test('Switch: a frame reaches the interface it is for, on its own network only, in order', (t) => {
  const net = new Switch();
  const make = (network: string, mac: string) => {
    const port = new NetworkInterface(network, mac);
    net.plug(port);
    return port;
  };
  const one = make('n', '52:54:00:00:00:01');
  const two = make('n', '52:54:00:00:00:02');
  const three = make('n', '52:54:00:00:00:03');
  const elsewhere = make('m', '52:54:00:00:00:02');
  const frame = (...start: number[]) => Uint8Array.from([...start, ...new Array(12).fill(0)]);
  net.send(one, frame(0x52, 0x54, 0, 0, 0, 2, 1));
  net.send(one, frame(0x52, 0x54, 0, 0, 0, 2, 2));
  net.send(one, frame(0xff, 0xff, 0xff, 0xff, 0xff, 0xff));
  t.deepEqual(
    two.queue.map((bytes) => bytes[6]),
    [1, 2, 0],
  );
  t.is(three.queue.length, 1);
  t.is(one.queue.length + elsewhere.queue.length, 0);
  two.linkUp = false;
  net.send(one, frame(0x52, 0x54, 0, 0, 0, 2));
  t.is(two.queue.length, 3);
});

test('seededSchedule: one seed gives one interleaving, another seed another', (t) => {
  const rounds = (seed: bigint) => {
    const schedule = seededSchedule(seed);
    return Array.from({ length: 50 }, () => schedule.round(['a', 'b', 'c']).join('')).join();
  };
  t.is(rounds(1n), rounds(1n));
  t.not(rounds(1n), rounds(2n));
  t.deepEqual(takeTurns.round(['a', 'b']), ['a', 'b']);
});

test('Watchers: changes that come while nobody reads are told once each, and nothing piles up', async (t) => {
  const watchers = new Watchers();
  const stop = new AbortController();
  const stream = watchers.watch(['a'], stop.signal);
  t.is((await stream.next()).value, 'a');
  for (let count = 0; count < 1000; count++) watchers.notify('b');
  watchers.notify('c');
  t.is((await stream.next()).value, 'b');
  t.is((await stream.next()).value, 'c');
  const waiting = stream.next();
  stop.abort();
  t.true((await waiting).done);
});
