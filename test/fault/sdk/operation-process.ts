/**
 * A process that carries one operation out over files, to be killed: `node operation-process.ts FOLDER [fail]`. It accepts
 * the operation unless a run before did, waits until it is at rest, and prints its state.
 *
 * The effect of a step is a file that holds its step id. Applying it again under the same id is the same effect; under
 * another id, or while it is there, it is an error, as with a driver. `applied.log` has a line for each change.
 */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { alreadyExists, failedPrecondition } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import {
  type OperationDefinition,
  OperationEngine,
  parallel,
  type Step,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import { jsonCollection } from '../../../sdk/records/record-store.ts';
import { openSqliteStore } from '../../../sdk/records/sqlite-store.ts';

const [folder = '', mode = ''] = process.argv.slice(2);
const snapshots = jsonCollection<string>('snapshots');

async function apply(name: string, { stepId, operationId }: StepContext): Promise<void> {
  const path = join(folder, 'effects', name);
  const id = `${operationId}/${stepId}`;
  await failpoint('driver.before-effect');
  if (existsSync(path)) {
    if (readFileSync(path, 'utf8') === id) return;
    throw alreadyExists('EFFECT', `${name} is there already`);
  }
  // The log first: a kill between the two is seen as an application that came to nothing, and is applied again.
  writeFileSync(path, id);
  appendFileSync(join(folder, 'applied.log'), `apply ${name} ${id}\n`);
  await failpoint('driver.after-effect');
}

async function remove(name: string): Promise<void> {
  await failpoint('driver.before-undo');
  rmSync(join(folder, 'effects', name), { force: true });
  await failpoint('driver.after-undo');
}

function step(name: string, more: Partial<Step> = {}): Step {
  return {
    name,
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    run: (context) => apply(name, context),
    compensate: () => remove(name),
    ...more,
  };
}

function plain(name: string, more: Partial<Step>): Step {
  const { compensate: _, ...rest } = step(name, more);
  return rest;
}

const definition: OperationDefinition = {
  name: 'create',
  operation: OperationType.CREATE_SNAPSHOT,
  onFailure: 'rollback',
  plan: () => [
    plain('grant', { starting: true, run: async (context) => context.grant('g') }),
    step('prepare', {
      run: async (context) => {
        await apply('prepare', context);
        return ['a', 'b'];
      },
      extend: (names) => [
        step('hold', { hold: true }),
        parallel((names as string[]).map((name) => step(`capture-${name}`))),
        plain('release', { always: true, releases: ['hold'], run: () => remove('hold') }),
      ],
    }),
    step('finish', {
      run: async (context) => {
        await apply('finish', context);
        if (mode === 'fail') throw failedPrecondition('PLANNED', 'fails on purpose');
      },
    }),
  ],
  stateChanged: async (tx, { to, occurrence }) => {
    const id = occurrence.vnfSnapshotInfoId;
    if (to === OperationState.COMPLETED) await tx.collection(snapshots).update(id, 'whole');
    if (to === OperationState.ROLLED_BACK) await tx.collection(snapshots).delete(id);
  },
};

const store = openSqliteStore({ path: join(folder, 'state.db') });
const engine = new OperationEngine({ store, definitions: [definition] });
await engine.start();
const { id } = await engine.accept({
  definition: 'create',
  input: {},
  key: 'vnf',
  vnfSnapshotInfoId: 's',
  request: { id: 'request', method: 'Create', body: new Uint8Array() },
  record: async (tx) => void (await tx.collection(snapshots).insert('s', 'half')),
});
const { operationState, error } = await engine.finished(id);
const snapshot = (await store.collection(snapshots).get('s'))?.value ?? 'none';
const { records } = await engine.list();
process.stdout.write(
  JSON.stringify({
    state: OperationState[operationState],
    reason: error?.reason ?? '',
    snapshot,
    operations: records.length,
  }),
);
await engine.stop();
await store.close();
