import { randomUUID } from 'node:crypto';
import test from 'ava';
import {
  hostBootId,
  type LeaseFile,
  LeaseFiles,
  monotonicNowMs,
} from '../../../../plugins/drivers/qemu/leases/lease-files.ts';
import { Leases } from '../../../../plugins/drivers/qemu/leases/leases.ts';
import { Code } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

function lease(change: Partial<LeaseFile> = {}): LeaseFile {
  return {
    leaseId: randomUUID(),
    kind: 'hold',
    computeId: 'gateway',
    runFolder: '/nowhere',
    uuid: randomUUID(),
    deadlineMonotonicMs: monotonicNowMs() + 60_000,
    bootId: hostBootId(),
    resume: true,
    thaw: false,
    startTimeMs: Date.now(),
    durationMs: 60_000,
    ...change,
  };
}

test('LeaseFiles: of driver and watchdog exactly one ends a lease', async (t) => {
  const files = new LeaseFiles(await tempFolder(t));
  for (let round = 0; round < 20; round++) {
    const taken = lease();
    await files.write(taken);
    const ends = await Promise.all([files.release(taken.leaseId), files.claim(taken.leaseId)]);
    t.is(ends.filter(Boolean).length, 1);
  }
});

test('LeaseFiles: a fired lease keeps what the watchdog did', async (t) => {
  const files = new LeaseFiles(await tempFolder(t));
  const taken = lease();
  await files.write(taken);
  t.true(await files.claim(taken.leaseId));
  await files.writeOutcome(taken, 'resumed');
  t.is((await files.readFired(taken.leaseId))?.outcome, 'resumed');
  t.is(await files.read(taken.leaseId), undefined);
  t.deepEqual((await files.list()).inForce, []);
});

test('LeaseFiles: an id from a caller never becomes a path', async (t) => {
  const files = new LeaseFiles(await tempFolder(t));
  t.is(await files.read('../../etc/passwd'), undefined);
  t.false(await files.release('../x'));
});

test('Leases: a lease whose time is over counts as expired before the watchdog acted', async (t) => {
  const leases = new Leases(await tempFolder(t));
  const taken = lease({ deadlineMonotonicMs: monotonicNowMs() - 1 });
  await leases.files.write(taken);
  const expected = { code: Code.ABORTED, reason: 'LEASE_EXPIRED' };
  await throwsRpc(t, leases.assertInForce(taken.leaseId), expected);
});

test('Leases: one that was released is LEASE_EXPIRED for whoever captures under it', async (t) => {
  const leases = new Leases(await tempFolder(t));
  const taken = lease();
  await leases.files.write(taken);
  await leases.end(taken.leaseId);
  const expected = { code: Code.ABORTED, reason: 'LEASE_EXPIRED' };
  await throwsRpc(t, leases.assertInForce(taken.leaseId), expected);
  await throwsRpc(t, leases.end(taken.leaseId), expected);
});
