import { create, type MessageInitShape } from '@bufbuild/protobuf';
import test from 'ava';
import { PluginSchema } from '../../../gen/nfv/kernel/v1/plugin_pb.js';
import {
  GetPluginInfoRequestSchema,
  GetPluginInfoResponseSchema,
} from '../../../gen/nfv/plugin/v1/plugin_service_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { findViolations, validateRequest } from '../../../sdk/validation.ts';
import { echoDesc } from '../../support/echo-service.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const { message: schema } = echoDesc();

const violation = test.macro({
  exec(t, init: MessageInitShape<typeof schema>, field: string, description: string) {
    const [first] = findViolations(schema, create(schema, init));
    t.deepEqual(first, { field, description });
  },
  title: (title) => `validation: ${title}`,
});

test(
  'a pattern is anchored at both ends',
  violation,
  { text: 'a!b' },
  'text',
  'must match [^!]*, and "a!b" does not',
);
test(
  'a text above its limit is refused, in bytes',
  violation,
  { text: 'ä'.repeat(51) },
  'text',
  'must be at most 100 bytes, not 102',
);
test(
  'a text without a rule has at most 1024 bytes',
  violation,
  { password: 'x'.repeat(1025) },
  'password',
  'must be at most 1024 bytes, not 1025',
);
test(
  'a number below its range is refused',
  violation,
  { count: -6 },
  'count',
  'must be at least -5 and at most 100000, not -6',
);
test(
  'a number above its range is refused',
  violation,
  { count: 100_001 },
  'count',
  'must be at least -5 and at most 100000, not 100001',
);
test(
  'a list has a largest number of entries',
  violation,
  { names: ['a', 'b', 'c', 'd'] },
  'names',
  'must have at most 3 entries, not 4',
);
test(
  'messages inside are checked, with their path',
  violation,
  { nested: { nested: { text: '!' } } },
  'nested.nested.text',
  'must match [^!]*, and "!" does not',
);
test(
  'values of maps are checked, with their key',
  violation,
  { labels: { long: 'x'.repeat(2000) } },
  'labels["long"]',
  'must be at most 1024 bytes, not 2000',
);
test(
  'keys of maps are checked',
  violation,
  { labels: { ['k'.repeat(2000)]: '' } },
  'labels (a key)',
  'must be at most 1024 bytes, not 2000',
);

test('validation: a message nested without end is refused', (t) => {
  let init: MessageInitShape<typeof schema> = {};
  for (let depth = 0; depth < 40; depth++) init = { nested: init };
  t.regex(
    findViolations(schema, create(schema, init))[0]?.description ?? '',
    /nested deeper than 32/,
  );
});

test('validation: a required text must not be empty, and every violation is listed', (t) => {
  const found = findViolations(GetPluginInfoResponseSchema, create(GetPluginInfoResponseSchema));
  const fields = found.map(({ field }) => field);
  t.true(fields.includes('name') && fields.includes('role') && fields.includes('instance_id'));
});

test('validation: a required number is checked against its range even when it is zero', (t) => {
  const request = create(GetPluginInfoRequestSchema, { apiVersionMax: 1 });
  t.deepEqual(findViolations(GetPluginInfoRequestSchema, request), [
    { field: 'api_version_min', description: 'must be at least 1, not 0' },
  ]);
});

test('validation: a message that keeps its rules has no violations', (t) => {
  t.deepEqual(findViolations(schema, create(schema, { text: 'ok', count: 3, names: ['a'] })), []);
  t.deepEqual(findViolations(PluginSchema, create(PluginSchema, { name: 'x' })), []);
});

test('validation: the error carries the violations as a BadRequest', async (t) => {
  const request = create(schema, { text: '!', count: -9 });
  const error = await throwsRpc(t, () => validateRequest(schema, request), {
    code: Code.INVALID_ARGUMENT,
    reason: 'FIELD_VIOLATION',
  });
  t.deepEqual(
    error.violations.map(({ field }) => field),
    ['text', 'count'],
  );
  t.is(error.metadata.field, 'text');
});
