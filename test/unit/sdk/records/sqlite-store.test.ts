import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { create } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { ChecksumSchema } from '../../../../gen/nfv/common/v1/common_pb.js';
import { Code } from '../../../../sdk/errors.ts';
import { jsonCollection, messageCollection } from '../../../../sdk/records/record-store.ts';
import { openSqliteStore } from '../../../../sdk/records/sqlite-store.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const checksums = messageCollection('checksums', ChecksumSchema);
const numbers = jsonCollection<number>('numbers');
const texts = jsonCollection<string>('texts');

async function open(t: ExecutionContext, sizeBytesMax?: number) {
  const path = join(await tempFolder(t), 'state', 'records.db');
  const store = openSqliteStore(sizeBytesMax === undefined ? { path } : { path, sizeBytesMax });
  t.teardown(() => store.close());
  return { path, store };
}

test('records: a message survives closing and opening the store', async (t) => {
  const { path, store } = await open(t);
  const value = create(ChecksumSchema, { algorithm: 'SHA-256', hash: 'ab' });
  const { etag } = await store.collection(checksums).insert('one', value);
  await store.close();
  const again = openSqliteStore({ path });
  t.teardown(() => again.close());
  t.deepEqual(await again.collection(checksums).get('one'), { id: 'one', value, etag });
});

test('records: the file is for its owner only', async (t) => {
  const { path, store } = await open(t);
  await store.collection(numbers).insert('a', 1);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(statSync(`${path}-wal`).mode & 0o777, 0o600);
});

test('records: an update with an old etag is ABORTED and changes nothing', async (t) => {
  const { store } = await open(t);
  const all = store.collection(numbers);
  const first = await all.insert('a', 1);
  const second = await all.update('a', 2, first.etag);
  await throwsRpc(t, all.update('a', 3, first.etag), {
    code: Code.ABORTED,
    reason: 'ETAG_MISMATCH',
  });
  await throwsRpc(t, all.delete('a', first.etag), { code: Code.ABORTED, reason: 'ETAG_MISMATCH' });
  t.deepEqual(await all.get('a'), second);
});

test('records: an etag does not come back when a record is deleted and made anew', async (t) => {
  const { store } = await open(t);
  const all = store.collection(numbers);
  const first = await all.insert('a', 1);
  t.true(await all.delete('a'));
  t.false(await all.delete('a'));
  t.not((await all.insert('a', 1)).etag, first.etag);
});

test('records: a taken id is ALREADY_EXISTS, an unknown one NOT_FOUND, an empty one refused', async (t) => {
  const { store } = await open(t);
  const all = store.collection(numbers);
  await all.insert('a', 1);
  await throwsRpc(t, all.insert('a', 2), { code: Code.ALREADY_EXISTS, reason: 'RECORD_EXISTS' });
  await throwsRpc(t, all.require('b'), { code: Code.NOT_FOUND, reason: 'RECORD_UNKNOWN' });
  await throwsRpc(t, all.update('b', 2), { code: Code.NOT_FOUND, reason: 'RECORD_UNKNOWN' });
  await throwsRpc(t, all.insert('', 2), { code: Code.INVALID_ARGUMENT, reason: 'ID_LENGTH' });
});

test('records: a transaction that throws changes nothing, over several collections', async (t) => {
  const { store } = await open(t);
  await store.collection(numbers).insert('a', 1);
  const failure = store.transaction(async (tx) => {
    await tx.collection(numbers).put('a', 2);
    await tx.collection(texts).insert('b', 'x');
    t.is((await tx.collection(numbers).require('a')).value, 2);
    throw new Error('no');
  });
  await t.throwsAsync(failure, { message: 'no' });
  t.is((await store.collection(numbers).require('a')).value, 1);
  t.is(await store.collection(texts).count(), 0);
});

test('records: transactions run one after the other, so that read-modify-write loses nothing', async (t) => {
  const { store } = await open(t);
  await store.collection(numbers).insert('a', 0);
  const add = () =>
    store.transaction(async (tx) => {
      const all = tx.collection(numbers);
      const { value } = await all.require('a');
      await Promise.resolve();
      await all.update('a', value + 1);
    });
  await Promise.all(Array.from({ length: 50 }, add));
  t.is((await store.collection(numbers).require('a')).value, 50);
});

test('records: the store itself is refused within a transaction, and a transaction after its end', async (t) => {
  const { store } = await open(t);
  let kept: Parameters<Parameters<typeof store.transaction>[0]>[0] | undefined;
  await store.transaction(async (tx) => {
    kept = tx;
    await throwsRpc(t, store.collection(numbers).put('a', 1), {
      code: Code.FAILED_PRECONDITION,
      reason: 'TRANSACTION_NESTED',
    });
  });
  await throwsRpc(t, kept!.collection(numbers).put('a', 1), {
    code: Code.FAILED_PRECONDITION,
    reason: 'TRANSACTION_ENDED',
  });
});

for (const order of ['id', 'oldest', 'newest'] as const) {
  test(`records: pages by ${order} give every record once, in order`, async (t) => {
    const { store } = await open(t);
    const ids = ['c', 'a', 'e', 'b', 'd'];
    for (const id of ids) await store.collection(texts).insert(id, id);
    await store.collection(numbers).insert('z', 1);
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const page = await store
        .collection(texts)
        .list({ order, limit: 2, ...(after !== undefined && { after }) });
      t.true(page.records.length <= 2);
      seen.push(...page.records.map(({ id }) => id));
      after = page.next;
    } while (after !== undefined);
    const expected = { id: ids.toSorted(), oldest: ids, newest: ids.toReversed() }[order];
    t.deepEqual(seen, expected);
  });
}

test('records: namespaces do not see one another', async (t) => {
  const { store } = await open(t);
  await store.namespace('vnfm').collection(numbers).insert('a', 1);
  await store.namespace('nfvo').collection(numbers).insert('a', 2);
  t.is((await store.namespace('vnfm').collection(numbers).require('a')).value, 1);
  t.is(await store.collection(numbers).count(), 0);
});

test('records: a second opening of the file is refused while the first lives', async (t) => {
  const { path } = await open(t);
  await throwsRpc(t, () => openSqliteStore({ path }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'STORE_IN_USE',
  });
});

test('records: a newer layout, a foreign database and a damaged file are refused, each with its reason', async (t) => {
  const folder = await tempFolder(t);
  const make = (name: string, sql: string) => {
    const path = join(folder, name);
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
    return path;
  };
  const newer = make('newer.db', `PRAGMA application_id = ${0x4e465672}; PRAGMA user_version = 99`);
  const error = await throwsRpc(t, () => openSqliteStore({ path: newer }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'FORMAT_TOO_NEW',
  });
  t.is(error.metadata.found, '99');
  const foreign = make('foreign.db', 'CREATE TABLE theirs (a)');
  await throwsRpc(t, () => openSqliteStore({ path: foreign }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'STORE_FOREIGN',
  });
  const damaged = join(folder, 'damaged.db');
  writeFileSync(damaged, 'x'.repeat(8192));
  await throwsRpc(t, () => openSqliteStore({ path: damaged }), {
    code: Code.DATA_LOSS,
    reason: 'STORE_CORRUPT',
  });
});

test('records: a full store is RESOURCE_EXHAUSTED, keeps what it has, and takes small things again', async (t) => {
  const { store } = await open(t, 128 * 1024);
  const all = store.collection(texts);
  await all.insert('small', 'x');
  await throwsRpc(t, all.insert('large', 'y'.repeat(500_000)), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'STORE_FULL',
  });
  t.is(await all.get('large'), undefined);
  await all.update('small', 'z');
  t.is((await all.require('small')).value, 'z');
});

test('records: a record over the size limit is refused by name', async (t) => {
  const { store } = await open(t);
  const error = await throwsRpc(t, store.collection(texts).put('a', 'x'.repeat(5_000_000)), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'RECORD_TOO_LARGE',
  });
  t.is(error.metadata.id, 'a');
});
