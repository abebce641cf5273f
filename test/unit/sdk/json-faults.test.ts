import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { VnfdSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { findJsonFaults } from '../../../sdk/json-faults.ts';

const file = join(import.meta.dirname, '../../../app/demo/vnfd-wasmvm.json');
// biome-ignore lint/suspicious/noExplicitAny: the tests put anything anywhere.
const demo = (): any => JSON.parse(readFileSync(file, 'utf8'));

test('findJsonFaults: a descriptor that can be decoded has none', (t) => {
  t.deepEqual(findJsonFaults(VnfdSchema, demo()), []);
});

test('findJsonFaults: a wrong type is named with its whole path', (t) => {
  const vnfd = demo();
  vnfd.virtualStorageDesc[0].sizeOfStorageMib = 'big';
  const [fault, ...more] = findJsonFaults(VnfdSchema, vnfd);
  t.deepEqual(more, []);
  t.is(fault?.field, 'virtualStorageDesc[0].sizeOfStorageMib');
  t.regex(fault?.description ?? '', /big/);
});

test('findJsonFaults: an unknown name is named with its whole path, and so is every other', (t) => {
  const vnfd = demo();
  vnfd.vdu[1].virtualStorageDescription = ['data'];
  vnfd.vdu[0].vduId = 7;
  vnfd.snapshots = {};
  t.deepEqual(
    findJsonFaults(VnfdSchema, vnfd).map(({ field }) => field),
    ['vdu[0].vduId', 'vdu[1].virtualStorageDescription', 'snapshots'],
  );
});

test('findJsonFaults: a document that is no object, and a list that is none, say so', (t) => {
  t.deepEqual(
    findJsonFaults(VnfdSchema, []).map(({ field }) => field),
    [''],
  );
  t.deepEqual(
    findJsonFaults(VnfdSchema, { ...demo(), vdu: {} }).map(({ field }) => field),
    ['vdu'],
  );
});

test('findJsonFaults: the number of faults is bounded', (t) => {
  const vdu = Array.from({ length: 100 }, () => ({ nothing: 1 }));
  t.is(findJsonFaults(VnfdSchema, { vdu }).length, 16);
});
