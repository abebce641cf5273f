import { create } from '@bufbuild/protobuf';
import test from 'ava';
import {
  LifecycleOperationOccurrenceSchema,
  OperationState,
  OperationStepSchema,
} from '../../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../../sdk/errors.ts';
import { changesWaitingMax, StateFeed } from '../../../../sdk/operations/state-feed.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const occurrence = (id: string) =>
  create(LifecycleOperationOccurrenceSchema, {
    ...{ id, operationState: OperationState.PROCESSING },
    steps: [create(OperationStepSchema, { name: 'one' })],
  });

/** A follower that has begun. */
async function following(feed: StateFeed, signal?: AbortSignal) {
  const iterator = feed.follow(signal)[Symbol.asyncIterator]();
  await iterator.next();
  return iterator;
}

test('a follower hears that it stands, then each change in order, without steps', async (t) => {
  const feed = new StateFeed(2);
  feed.publish(occurrence('before'));
  const iterator = feed.follow()[Symbol.asyncIterator]();
  t.deepEqual(await iterator.next(), { done: false, value: undefined });
  feed.publish(occurrence('a'));
  feed.publish(occurrence('b'));
  const first = (await iterator.next()).value!;
  t.is(first.id, 'a');
  t.deepEqual(first.steps, []);
  const waiting = iterator
    .next()
    .then(async ({ value }) => [value!.id, (await iterator.next()).value!.id]);
  feed.publish(occurrence('c'));
  t.deepEqual(await waiting, ['b', 'c']);
});

test('it ends with the feed, and when it is cancelled it frees its place', async (t) => {
  const feed = new StateFeed(1);
  const controller = new AbortController();
  const cancelled = await following(feed, controller.signal);
  const full = { code: Code.RESOURCE_EXHAUSTED, reason: 'TOO_MANY_WATCHERS' };
  await throwsRpc(t, following(feed), full);
  const next = cancelled.next();
  controller.abort(new Error('gone'));
  await t.throwsAsync(next, { message: 'gone' });
  const ended = await following(feed);
  const last = ended.next();
  feed.end();
  t.true((await last).done);
});

test('a follower that does not read is told what it missed, after what it still has', async (t) => {
  const feed = new StateFeed(1);
  const slow = await following(feed);
  for (let index = 0; index <= changesWaitingMax; index++) feed.publish(occurrence(`${index}`));
  for (let index = 0; index < changesWaitingMax; index++) {
    t.is((await slow.next()).value!.id, `${index}`);
  }
  await throwsRpc(t, () => slow.next(), {
    ...{ code: Code.RESOURCE_EXHAUSTED, reason: 'WATCHER_TOO_SLOW' },
  });
});
