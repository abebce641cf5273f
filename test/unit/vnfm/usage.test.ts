import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Code } from '../../../gen/google/rpc/code_pb.js';
import { acquire, giveBack, type Use } from '../../../plugins/vnfm/usage.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { openSqliteStore } from '../../../sdk/records/sqlite-store.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const alone: Use = { kind: 'snapshot', id: 's', mode: 'exclusive' };
const reading: Use = { kind: 'snapshot', id: 's', mode: 'shared' };

async function usages(t: ExecutionContext) {
  const store = openSqliteStore({ path: join(await tempFolder(t), 's.db'), clock: systemClock });
  t.teardown(() => store.close());
  return {
    take: (operation: string, ...uses: Use[]) =>
      store.transaction((tx) => acquire(tx, uses, operation)),
    back: (operation: string, ...uses: Use[]) =>
      store.transaction((tx) => giveBack(tx, uses, operation)),
  };
}

test('acquire: several may read, nobody may write meanwhile', async (t) => {
  const { take, back } = await usages(t);
  await take('one', reading);
  await take('two', reading);
  const error = await throwsRpc(t, take('three', alone), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_IN_USE',
  });
  t.is(error.metadata.operation_id, 'one');
  await back('one', reading);
  await throwsRpc(t, take('three', alone), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_IN_USE',
  });
  await back('two', reading);
  await t.notThrowsAsync(take('three', alone));
});

test('acquire: who writes is alone', async (t) => {
  const { take, back } = await usages(t);
  await take('one', alone);
  const expected = { code: Code.FAILED_PRECONDITION, reason: 'OPERATION_IN_PROGRESS' };
  await throwsRpc(t, take('two', alone), expected);
  await throwsRpc(t, take('two', reading), expected);
  await back('two', alone);
  await throwsRpc(t, take('two', reading), expected);
  await back('one', alone);
  await t.notThrowsAsync(take('two', reading));
});

test('acquire: of several things either all are taken or none', async (t) => {
  const { take } = await usages(t);
  const vnf: Use = { kind: 'vnf', id: 'v', mode: 'exclusive' };
  await take('one', alone);
  await t.throwsAsync(take('two', vnf, alone));
  await t.notThrowsAsync(take('three', vnf));
});
