import { create, type MessageInitShape } from '@bufbuild/protobuf';
import test from 'ava';
import type { GrantRequest } from '../../../gen/nfv/grant/v1/grant_pb.js';
import { GrantRequestSchema } from '../../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { GrantingPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import {
  decide as decideWith,
  type Facts,
  openPolicy,
  type Policy,
  parsePolicy,
} from '../../../plugins/nfvo/policy.ts';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const revert = OperationType.REVERT_TO_SNAPSHOT;

const nothing: Facts = {
  now: new Date('2026-01-07T12:00:00Z'),
  vnfMetadata: {},
  usage: () => ({ snapshots: 0, storedBytes: 0 }),
};
const decide = (policy: Policy, grantRequest: GrantRequest, facts: Partial<Facts> = {}) =>
  decideWith(policy, grantRequest, { ...nothing, ...facts });

function request(init: MessageInitShape<typeof GrantRequestSchema> = {}) {
  return create(GrantRequestSchema, { operation: revert, vnfInstanceId: 'vnf-1', ...init });
}

function refusing(conditions: Record<string, unknown>) {
  const rule = { name: 'no', decision: 'refuse', ...conditions };
  return parsePolicy({ rules: [rule] });
}

test('decide: without rules everything is granted, by the default', (t) => {
  const decision = { decision: 'grant', rule: 'default', reason: 'the default of the policy' };
  t.deepEqual(decide(openPolicy, request()), decision);
  t.deepEqual(decide(parsePolicy(undefined), request()), decision);
});

test('decide: the default refuses what no rule grants', (t) => {
  const policy = parsePolicy({
    default: 'refuse',
    rules: [{ name: 'lab', vnfInstanceIds: ['vnf-lab'], decision: 'grant' }],
  });
  t.like(decide(policy, request()), { decision: 'refuse', rule: 'default' });
  t.like(decide(policy, request({ vnfInstanceId: 'vnf-lab' })), { decision: 'grant', rule: 'lab' });
});

test('decide: the first rule that matches decides, and tells its reason', (t) => {
  const policy = parsePolicy({
    rules: [
      { name: 'freeze', operations: ['REVERT_TO_SNAPSHOT'], decision: 'refuse', reason: 'freeze' },
      { name: 'all', decision: 'grant' },
    ],
  });
  t.deepEqual(decide(policy, request()), { decision: 'refuse', rule: 'freeze', reason: 'freeze' });
  const create = request({ operation: OperationType.CREATE_SNAPSHOT });
  t.deepEqual(decide(policy, create), { decision: 'grant', rule: 'all', reason: 'rule "all"' });
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
    t.is(decide(policy, matching).decision, 'refuse');
    const { expectedBytes: _, ...rest } = matching;
    t.is(decide(policy, create(GrantRequestSchema, { ...rest, ...other })).decision, 'grant');
  });
}

test('decide: all conditions of a rule must hold', (t) => {
  const policy = refusing({ vnfdIds: ['vnfd-1'], vnfInstanceIds: ['vnf-1'] });
  t.is(decide(policy, request({ vnfdId: 'vnfd-1' })).decision, 'refuse');
  t.is(decide(policy, request({ vnfdId: 'vnfd-2' })).decision, 'grant');
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

test('decide: a rule for some VNFs looks at their metadata', (t) => {
  const policy = refusing({ vnfMetadata: { tenant: 'red' } });
  t.is(decide(policy, request(), { vnfMetadata: { tenant: 'red', x: 'y' } }).decision, 'refuse');
  t.is(decide(policy, request(), { vnfMetadata: { tenant: 'blue' } }).decision, 'grant');
  t.is(decide(policy, request()).decision, 'grant');
});

test('decide: a rule for a time holds only then [Vnfsd.015]', (t) => {
  const day = { days: ['DAY_OF_WEEK_WEDNESDAY'], startTime: '08:00', endTime: '18:00' };
  const policy = refusing({ windows: [day] });
  t.is(decide(policy, request()).decision, 'refuse');
  const night = { now: new Date('2026-01-07T19:00:00Z') };
  t.is(decide(policy, request(), night).decision, 'grant');
});

test('decide: a quota lets through what fits, and no more', (t) => {
  const policy = refusing({ quota: { snapshots: 3, storedBytes: 1000 } });
  const using = (snapshots: number, storedBytes: number) => ({
    usage: () => ({ snapshots, storedBytes }),
  });
  const snapshot = request({ operation: OperationType.CREATE_SNAPSHOT });
  t.is(decide(policy, snapshot, using(2, 5000)).decision, 'grant');
  t.is(decide(policy, snapshot, using(3, 0)).decision, 'refuse');
  const pack = request({ operation: OperationType.CREATE_PACKAGE, expectedBytes: 400n });
  t.is(decide(policy, pack, using(9, 600)).decision, 'grant');
  t.is(decide(policy, pack, using(0, 601)).decision, 'refuse');
  t.is(decide(policy, request(), using(9, 9000)).decision, 'grant', 'reverting stores nothing');
});

const word = (descriptorPolicy: GrantingPolicy) => request({ descriptorPolicy });
const { ALWAYS, NEVER, APPROVAL } = GrantingPolicy;

test('decide: the descriptor may be stricter than the policy, and overrides its default only [Vnfsd.015]', (t) => {
  const named = (decision: string) => parsePolicy({ rules: [{ name: 'named', decision }] });
  t.is(decide(named('grant'), word(NEVER)).decision, 'refuse');
  t.is(decide(named('grant'), word(NEVER)).rule, 'descriptor');
  t.is(decide(named('grant'), word(APPROVAL)).decision, 'ask');
  t.is(decide(named('refuse'), word(APPROVAL)).decision, 'refuse');
  t.is(decide(named('refuse'), word(ALWAYS)).decision, 'refuse');
  t.is(decide(named('ask'), word(ALWAYS)).decision, 'ask');
  t.is(decide(parsePolicy({ default: 'refuse' }), word(ALWAYS)).decision, 'grant');
  t.is(decide(parsePolicy({ default: 'ask' }), request()).decision, 'ask');
});

const wrongConditions: [string, object, RegExp][] = [
  ['a quota of nothing', { quota: {} }, /quota: needs snapshots or storedBytes/],
  [
    'a quota of less than nothing',
    { quota: { snapshots: -1 } },
    /snapshots must be a whole number/,
  ],
  ['a quota of something unknown', { quota: { cows: 1 } }, /"cows" is not known/],
  ['a quota that grants', { quota: { snapshots: 1 }, decision: 'grant' }, /refuse that, or ask/],
  ['no windows', { windows: [] }, /windows: must be a list/],
  [
    'a time that is none',
    { windows: [{ startTime: '25:00', endTime: '01:00' }] },
    /"25:00" is no time/,
  ],
  [
    'a time zone that is none',
    { windows: [{ startTime: '22:00', endTime: '01:00', timeZone: 'Mars/Olympus' }] },
    /windows: .*Mars/,
  ],
  [
    'metadata that is no text',
    { vnfMetadata: { tenant: 1 } },
    /vnfMetadata: must be an object of texts/,
  ],
  [
    'resource calls that wait for a person',
    { resourceCalls: ['HoldVirtualisedComputeResource'], decision: 'ask' },
    /resource calls cannot wait/,
  ],
  [
    'that a disk which was detached stays so',
    { resourceCalls: ['AttachVirtualisedStorageResource'] },
    /AttachVirtualisedStorageResource lets go, gives back or looks/,
  ],
];

for (const [what, conditions, message] of wrongConditions) {
  test(`parsePolicy: refuses ${what}`, (t) => {
    t.throws(() => refusing({ ...conditions }), { message });
  });
}
