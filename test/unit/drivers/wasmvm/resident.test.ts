import test from 'ava';
import type { Machine } from '../../../../plugins/drivers/wasmvm/machine/machine.ts';
import { Resident } from '../../../../plugins/drivers/wasmvm/machine/resident.ts';
import { Code } from '../../../../sdk/errors.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const expired = { code: Code.ABORTED, reason: 'LEASE_EXPIRED' };
const state = { code: Code.FAILED_PRECONDITION, reason: 'COMPUTE_STATE' };

function resident(): { resident: Resident; calls: string[] } {
  const calls: string[] = [];
  const machine = {
    canFreeze: true,
    config: { computeId: 'c', number: 1 },
    freeze: () => calls.push('freeze'),
    thaw: () => calls.push('thaw'),
  };
  return { resident: new Resident(machine as unknown as Machine), calls };
}

test('Resident: held it is not ready and looks paused; released it is as before', (t) => {
  const { resident: one } = resident();
  one.hold('a', 100, 0);
  t.false(one.ready);
  t.is(one.status.state, 'paused');
  one.release('a');
  t.true(one.ready);
  t.is(one.status.state, 'running');
});

test('Resident: a guest that was paused before the hold is paused after it', (t) => {
  const { resident: one } = resident();
  one.state = 'paused';
  one.hold('a', 100, 0);
  one.release('a');
  t.false(one.ready);
});

test('Resident: a lease ends at its deadline and not before, and is remembered as expired', async (t) => {
  const { resident: one } = resident();
  one.hold('a', 100, 1000);
  t.is(one.deadlineMs, 1100);
  t.false(one.expire(1099.9));
  t.true(one.expire(1100));
  t.true(one.ready);
  await throwsRpc(t, () => one.release('a'), expired);
});

test('Resident: a lease that was released may be released again; one that never was is expired', async (t) => {
  const { resident: one } = resident();
  one.hold('a', 100, 0);
  one.release('a');
  one.release('a');
  one.release('');
  await throwsRpc(t, () => one.release('b'), expired);
});

test('Resident: one hold at a time; another lease does not release it', async (t) => {
  const { resident: one } = resident();
  one.hold('a', 100, 0);
  await throwsRpc(t, () => one.hold('b', 100, 0), state);
  await throwsRpc(t, () => one.release('b'), expired);
  t.true(one.isHeldBy('a'));
});

test('Resident: a freeze whose time is over during a hold is thawed when the hold ends', async (t) => {
  const { resident: one, calls } = resident();
  one.quiesce('f', 10, 0);
  one.hold('h', 100, 5);
  t.false(one.expire(50));
  t.deepEqual(calls, ['freeze']);
  one.release('h');
  t.true(one.expire(60));
  t.deepEqual(calls, ['freeze', 'thaw']);
  await throwsRpc(t, () => one.unquiesce('f'), expired);
});

test('Resident: what stands is neither frozen nor thawed', async (t) => {
  const { resident: one } = resident();
  one.hold('h', 100, 0);
  await throwsRpc(t, () => one.quiesce('f', 10, 0), state);
  one.release('h');
  one.quiesce('f', 10, 0);
  one.standing = 1;
  await throwsRpc(t, () => one.unquiesce('f'), state);
});

test('Resident: a freeze is thawed without a lease too, as after a revert', (t) => {
  const { resident: one, calls } = resident();
  one.quiesced = true;
  one.limitFreeze('restored', 100, 0);
  t.is(one.unquiesce(''), 1);
  t.false(one.quiesced);
  t.deepEqual(calls, ['thaw']);
  t.is(one.unquiesce(''), 0);
});
