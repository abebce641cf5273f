import { create, type MessageInitShape } from '@bufbuild/protobuf';
import test from 'ava';
import { GrantRequestSchema } from '../../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { decide, openPolicy, parsePolicy } from '../../../plugins/nfvo/policy.ts';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const revert = OperationType.REVERT_TO_SNAPSHOT;

function request(init: MessageInitShape<typeof GrantRequestSchema> = {}) {
  return create(GrantRequestSchema, { operation: revert, vnfInstanceId: 'vnf-1', ...init });
}

function refusing(conditions: Record<string, unknown>) {
  const rule = { name: 'no', decision: 'refuse', ...conditions };
  return parsePolicy({ rules: [rule] });
}

test('decide: without rules everything is granted, by the default', (t) => {
  const decision = { granted: true, rule: 'default', reason: 'the default of the policy' };
  t.deepEqual(decide(openPolicy, request()), decision);
  t.deepEqual(decide(parsePolicy(undefined), request()), decision);
});

test('decide: the default refuses what no rule grants', (t) => {
  const policy = parsePolicy({
    default: 'refuse',
    rules: [{ name: 'lab', vnfInstanceIds: ['vnf-lab'], decision: 'grant' }],
  });
  t.like(decide(policy, request()), { granted: false, rule: 'default' });
  t.like(decide(policy, request({ vnfInstanceId: 'vnf-lab' })), { granted: true, rule: 'lab' });
});

test('decide: the first rule that matches decides, and tells its reason', (t) => {
  const policy = parsePolicy({
    rules: [
      { name: 'freeze', operations: ['REVERT_TO_SNAPSHOT'], decision: 'refuse', reason: 'freeze' },
      { name: 'all', decision: 'grant' },
    ],
  });
  t.deepEqual(decide(policy, request()), { granted: false, rule: 'freeze', reason: 'freeze' });
  const create = request({ operation: OperationType.CREATE_SNAPSHOT });
  t.deepEqual(decide(policy, create), { granted: true, rule: 'all', reason: 'rule "all"' });
});

const conditions = [
  {
    title: 'operations',
    rule: { operations: ['REVERT_TO_SNAPSHOT'] },
    other: { operation: OperationType.CREATE_SNAPSHOT },
  },
  { title: 'vnfdIds', rule: { vnfdIds: ['vnfd-1'] }, other: { vnfdId: 'vnfd-2' } },
  { title: 'vnfInstanceIds', rule: { vnfInstanceIds: ['vnf-1'] }, other: { vnfInstanceId: 'x' } },
  { title: 'expectedBytesAbove', rule: { expectedBytesAbove: 99 }, other: { expectedBytes: 99n } },
  {
    title: 'expectedBytesAbove of an unknown size',
    rule: { expectedBytesAbove: 0 },
    other: { expectedBytes: undefined },
  },
];

for (const { title, rule, other } of conditions) {
  test(`decide: the condition ${title} keeps a rule from other requests`, (t) => {
    const policy = refusing(rule);
    const matching = request({ vnfdId: 'vnfd-1', expectedBytes: 100n });
    t.false(decide(policy, matching).granted);
    const { expectedBytes: _, ...rest } = matching;
    t.true(decide(policy, create(GrantRequestSchema, { ...rest, ...other })).granted);
  });
}

test('decide: all conditions of a rule must hold', (t) => {
  const policy = refusing({ vnfdIds: ['vnfd-1'], vnfInstanceIds: ['vnf-1'] });
  t.false(decide(policy, request({ vnfdId: 'vnfd-1' })).granted);
  t.true(decide(policy, request({ vnfdId: 'vnfd-2' })).granted);
});

const rule = (fields: Record<string, unknown>) => ({
  rules: [
    { name: 'a', decision: 'grant' },
    { name: 'b', decision: 'refuse', ...fields },
  ],
});
const wrong: { title: string; policy: unknown; path: string }[] = [
  { title: 'a text', policy: 'grant', path: 'policy' },
  { title: 'a list', policy: [], path: 'policy' },
  { title: 'an unknown key', policy: { defaults: 'grant' }, path: 'policy.defaults' },
  { title: 'an unknown default', policy: { default: 'maybe' }, path: 'policy.default' },
  { title: 'rules that are no list', policy: { rules: {} }, path: 'policy.rules' },
  { title: 'a rule that is no object', policy: { rules: [1] }, path: 'policy.rules[0]' },
  { title: 'an unknown condition', policy: rule({ vnfs: [] }), path: 'policy.rules[1].vnfs' },
  { title: 'an empty name', policy: rule({ name: '' }), path: 'policy.rules[1].name' },
  { title: 'no decision', policy: rule({ decision: undefined }), path: 'policy.rules[1].decision' },
  {
    title: 'operations that are no list',
    policy: rule({ operations: 'TERMINATE' }),
    path: 'policy.rules[1].operations',
  },
  {
    title: 'an unknown operation',
    policy: rule({ operations: ['TERMINATE', 'REVERT'] }),
    path: 'policy.rules[1].operations',
  },
  {
    title: 'the number of an operation, which would never match',
    policy: rule({ operations: ['5'] }),
    path: 'policy.rules[1].operations',
  },
  {
    title: 'ids that are no texts',
    policy: rule({ vnfInstanceIds: [1] }),
    path: 'policy.rules[1].vnfInstanceIds',
  },
  {
    title: 'a negative size',
    policy: rule({ expectedBytesAbove: -1 }),
    path: 'policy.rules[1].expectedBytesAbove',
  },
];

for (const { title, policy, path } of wrong) {
  test(`parsePolicy: ${title} is refused with its path`, async (t) => {
    const expected = { code: Code.INVALID_ARGUMENT, reason: 'CONFIG_INVALID' };
    const error = await throwsRpc(t, () => parsePolicy(policy), expected);
    t.is(error.metadata.path, `nfvo.${path}`);
    t.true(error.message.startsWith(`nfvo.${path}: `), error.message);
  });
}
