import { create, equals } from '@bufbuild/protobuf';
import test from 'ava';
import { LifecycleOperationOccurrenceSchema } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { compileSelectors, type Selectors } from '../../../sdk/selectors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const schema = LifecycleOperationOccurrenceSchema;
const excludedByDefault = ['steps', 'error', 'operation_params'];

function full() {
  return create(schema, {
    id: 'o',
    grantId: 'g',
    error: { reason: 'R', detail: 'D' },
    operationParams: { a: 1 },
    steps: [
      { name: 'a', note: 'n' },
      { name: 'b', note: 'm' },
    ],
  });
}

function select(selectors: Selectors) {
  return compileSelectors(schema, selectors, excludedByDefault)(full());
}

test('selectors: nothing and exclude_default leave out what is excluded by default', (t) => {
  for (const selected of [select({}), select({ excludeDefault: true })]) {
    t.deepEqual(selected.steps, []);
    t.is(selected.error, undefined);
    t.is(selected.operationParams, undefined);
    t.is(selected.grantId, 'g');
  }
});

test('selectors: all_fields leaves out nothing', (t) => {
  t.true(equals(schema, select({ allFields: true }), full()));
});

test('selectors: fields brings named attributes back, or parts of them', (t) => {
  const selected = select({ fields: ['steps/name', 'error'], excludeDefault: true });
  t.deepEqual(
    selected.steps.map(({ name, note }) => [name, note]),
    [
      ['a', ''],
      ['b', ''],
    ],
  );
  t.is(selected.error?.detail, 'D');
  t.is(selected.operationParams, undefined);
});

test('selectors: exclude_fields leaves out what it names and nothing else', (t) => {
  const selected = select({ excludeFields: ['grantId', 'steps/note', 'error/reason'] });
  t.is(selected.grantId, '');
  t.deepEqual(
    selected.steps.map(({ name, note }) => [name, note]),
    [
      ['a', ''],
      ['b', ''],
    ],
  );
  t.is(selected.error?.reason, '');
  t.is(selected.error?.detail, 'D');
  t.deepEqual(selected.operationParams, { a: 1 });
});

test('selectors: the message that is given is not changed', (t) => {
  const message = full();
  compileSelectors(schema, { excludeFields: ['steps/note'] }, [])(message);
  t.true(equals(schema, message, full()));
});

const conflicts: Selectors[] = [
  { allFields: true, fields: ['id'] },
  { allFields: true, excludeDefault: true },
  { fields: ['id'], excludeFields: ['grant_id'] },
  { excludeFields: ['id'], excludeDefault: true },
];
for (const selectors of conflicts) {
  test(`selectors: ${Object.keys(selectors).join(' with ')} is refused`, async (t) => {
    await throwsRpc(t, () => select(selectors), {
      code: Code.INVALID_ARGUMENT,
      reason: 'SELECTORS_CONFLICT',
    });
  });
}

test('selectors: an unknown attribute is refused by name', async (t) => {
  const error = await throwsRpc(t, () => select({ fields: ['steps/nothing'] }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'SELECTOR_ATTRIBUTE',
  });
  t.is(error.metadata.attribute, 'nothing');
});
