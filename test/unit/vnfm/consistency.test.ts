import type { Duration } from '@bufbuild/protobuf/wkt';
import { durationMs } from '@bufbuild/protobuf/wkt';
import test from 'ava';
import { ConsistencyLevel } from '../../../gen/nfv/common/v1/common_pb.js';
import { consistencyOf, type VnfcObservation } from '../../../plugins/vnfm/consistency.ts';

const { CRASH, FILE_SYSTEM, VNF_CONFIRMED } = ConsistencyLevel;

/**
 * A component that was frozen at 0, held from 10, captured from 20 to 30, released at 40, thawed at
 * 50.
 */
function observed(name: string, changes: Partial<VnfcObservation> = {}): VnfcObservation {
  return {
    vnfcInstanceId: name,
    running: true,
    freeze: { atMs: 0, expiresMs: 1000 },
    noFreezeReason: '',
    freezeFailed: false,
    hold: { atMs: 10, expiresMs: 1000 },
    captureMs: 20,
    captureEndMs: 30,
    frozenWhenCaptured: true,
    releaseMs: 40,
    thawMs: 50,
    ...changes,
  };
}

const confirmed = { vnfConfirmed: true, unconfirmedReason: '' };
const silent = { vnfConfirmed: false, unconfirmedReason: 'the VNF was silent' };

test('consistencyOf: frozen, held together and confirmed is the highest level', (t) => {
  const vnfcs = [observed('a'), observed('b', { hold: { atMs: 14, expiresMs: 1000 } })];
  const record = consistencyOf({ vnfcs, ...confirmed });
  t.is(record.level, VNF_CONFIRMED);
  t.true(record.commonHold);
  t.is(durationMs(record.skew as Duration), 4);
});

test('consistencyOf: without the word of the VNF it is the file system that counts', (t) => {
  const record = consistencyOf({ vnfcs: [observed('a')], ...silent });
  t.is(record.level, FILE_SYSTEM);
  t.is(record.vnfc?.[0]?.reason, 'the VNF was silent');
});

test('consistencyOf: the lowest component decides', (t) => {
  const noAgent = { freezeFailed: true, frozenWhenCaptured: false, noFreezeReason: 'agent silent' };
  const { freeze: _, ...rest } = observed('b', noAgent);
  const record = consistencyOf({ vnfcs: [observed('a'), rest], ...confirmed });
  t.is(record.level, CRASH);
  t.deepEqual(
    record.vnfc?.map((vnfc) => [vnfc.level, vnfc.reason]),
    [
      [VNF_CONFIRMED, ''],
      [CRASH, 'agent silent'],
    ],
  );
});

test('consistencyOf: where nothing can be frozen the word of the VNF counts', (t) => {
  const { freeze: _, ...rest } = observed('a', {
    frozenWhenCaptured: false,
    noFreezeReason: 'no agent',
  });
  const record = consistencyOf({ vnfcs: [rest], ...confirmed });
  t.is(record.level, VNF_CONFIRMED);
  t.is(record.vnfc?.[0]?.reason, 'no agent');
});

test('consistencyOf: a hold that ended before the last capture makes no common moment', (t) => {
  const late = observed('b', { captureMs: 50, captureEndMs: 60, releaseMs: 70 });
  const record = consistencyOf({ vnfcs: [observed('a'), late], ...confirmed });
  t.is(record.level, CRASH);
  t.false(record.commonHold);
});

test('consistencyOf: a hold that the watchdog ended makes no common moment', (t) => {
  const vnfcs = [observed('a'), observed('b', { hold: { atMs: 10, expiresMs: 29 } })];
  t.false(consistencyOf({ vnfcs, ...confirmed }).commonHold);
});

test('consistencyOf: a hold that began after the first capture makes no common moment', (t) => {
  const vnfcs = [observed('a'), observed('b', { hold: { atMs: 31, expiresMs: 1000 } })];
  t.false(consistencyOf({ vnfcs, ...confirmed }).commonHold);
});

test('consistencyOf: a component that does not run needs no hold', (t) => {
  const {
    hold: _h,
    releaseMs: _r,
    freeze: _f,
    ...rest
  } = observed('b', {
    running: false,
    frozenWhenCaptured: false,
    noFreezeReason: 'not running',
  });
  const record = consistencyOf({ vnfcs: [observed('a'), rest], ...confirmed });
  t.true(record.commonHold);
  t.is(record.level, VNF_CONFIRMED);
});

test('consistencyOf: a freeze that ended before the capture does not count', (t) => {
  const vnfcs = [observed('a', { freeze: { atMs: 0, expiresMs: 15 }, freezeFailed: true })];
  t.is(consistencyOf({ vnfcs, ...confirmed }).level, CRASH);
});
