import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import test from 'ava';
import { DataLocationSchema, LeaseSchema } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  LifecycleOperationOccurrenceSchema,
  OperationState,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { parseFilter } from '../../../sdk/filter.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const occurrence = create(LifecycleOperationOccurrenceSchema, {
  id: "it's, (one)",
  operationState: OperationState.PROCESSING,
  vnfInstanceId: 'vnf-7',
  revision: 9007199254740993n,
  startTime: timestampFromDate(new Date('2026-01-02T03:04:05.250Z')),
  error: { reason: 'BROKEN', code: 5, metadata: { step: 'hold', 'a/b': 'c' } },
  warnings: ['one', 'two'],
  result: { location: '/backup/p.zip' },
  operationParams: { deep: { list: [{ size: 3 }, { size: 10 }] }, flag: true, none: null },
  steps: [
    { name: 'a', index: 1, state: StepState.DONE, progress: { doneBytes: 5n, totalBytes: 10n } },
    { name: 'b', index: 2, state: StepState.FAILED, progress: { doneBytes: 7n } },
  ],
});

const matching = [
  '',
  '(eq,vnf_instance_id,vnf-7)',
  '(eq,vnfInstanceId,vnf-7)',
  "(eq,id,'it''s, (one)')",
  '(eq,operation_state,OPERATION_STATE_PROCESSING)',
  '(eq,operation_state,PROCESSING)',
  '(in,operation_state,STARTING,PROCESSING)',
  '(neq,operation_state,COMPLETED)',
  '(nin,vnf_instance_id,a,b)',
  '(eq,is_cancel_pending,false)',
  '(eq,revision,9007199254740993)',
  '(gt,revision,9007199254740992)',
  '(lte,revision,9007199254740993)',
  '(eq,start_time,2026-01-02T03:04:05.25Z)',
  '(gt,start_time,2026-01-02T04:04:05+01:00)',
  '(cont,vnf_instance_id,nf-,zzz)',
  '(ncont,vnf_instance_id,zzz)',
  '(eq,error/reason,BROKEN)',
  '(eq,warnings,two)',
  '(neq,warnings,two)',
  '(eq,steps/name,b)',
  '(eq,steps/name,a);(eq,steps/state,DONE)',
  '(eq,steps/name,a);(gt,steps/progress/total_bytes,9)',
  '(eq,steps/progress/doneBytes,7)',
  '(eq,result/location,/backup/p.zip)',
  '(eq,result/@key,location)',
  '(eq,result,/backup/p.zip)',
  '(eq,error/metadata/a~1b,c)',
  '(eq,operation_params/deep/list/size,10)',
  '(gt,operation_params/deep/list/size,9)',
  '(eq,operation_params/flag,true)',
];

for (const filter of matching) {
  test(`filter: ${filter || '(empty)'} matches`, (t) => {
    t.true(parseFilter(LifecycleOperationOccurrenceSchema, filter)(occurrence));
  });
}

const other = [
  '(eq,vnf_instance_id,vnf-8)',
  '(eq,operation_state,COMPLETED)',
  '(eq,revision,9007199254740992)',
  '(eq,steps/name,a);(eq,steps/state,FAILED)',
  '(eq,steps/name,b);(gt,steps/progress/total_bytes,0)',
  '(neq,grant_id,)',
  '(neq,end_time,2026-01-01T00:00:00Z)',
  '(eq,result/@key,elsewhere)',
  '(neq,result/elsewhere,x)',
  '(eq,operation_params/none,null)',
  '(gt,operation_params/deep/list/size,10)',
  '(eq,vnf_instance_id,vnf-7);(eq,error/reason,OTHER)',
];

for (const filter of other) {
  test(`filter: ${filter} does not match`, (t) => {
    t.false(parseFilter(LifecycleOperationOccurrenceSchema, filter)(occurrence));
  });
}

test('filter: an attribute of a message that is absent matches nothing, not even neq', (t) => {
  const none = create(LifecycleOperationOccurrenceSchema);
  const matches = parseFilter(LifecycleOperationOccurrenceSchema, '(neq,error/reason,X)');
  t.false(matches(none));
});

test('filter: only the chosen member of a oneof is present', (t) => {
  const location = create(DataLocationSchema, {
    location: { case: 'localFile', value: { path: '/a' } },
  });
  t.true(parseFilter(DataLocationSchema, '(eq,local_file/path,/a)')(location));
  t.false(parseFilter(DataLocationSchema, '(neq,nbd/export_name,x)')(location));
});

test('filter: durations compare by their length', (t) => {
  const lease = create(LeaseSchema, { duration: { seconds: 1n, nanos: 500_000_000 } });
  t.true(parseFilter(LeaseSchema, '(eq,duration,1.5s)')(lease));
  t.true(parseFilter(LeaseSchema, '(gt,duration,1s)')(lease));
});

const wrong: [filter: string, reason: string, position: number][] = [
  ['x', 'FILTER_SYNTAX', 1],
  ['(eq,id,a', 'FILTER_SYNTAX', 9],
  ['(eq,id)', 'FILTER_SYNTAX', 7],
  ['(eq,id,a)(eq,id,b)', 'FILTER_SYNTAX', 10],
  ['(eq,id,a);', 'FILTER_SYNTAX', 11],
  ['(like,id,a)', 'FILTER_SYNTAX', 2],
  ['(eq,id,a,b)', 'FILTER_SYNTAX', 10],
  ["(eq,id,'a)", 'FILTER_SYNTAX', 8],
  ["(eq,id,a'b)", 'FILTER_SYNTAX', 9],
  ['(eq,,a)', 'FILTER_SYNTAX', 5],
  ['(eq,error//reason,a)', 'FILTER_SYNTAX', 11],
  ['(eq,a~9,a)', 'FILTER_SYNTAX', 6],
  ['(eq,nothing,a)', 'FILTER_ATTRIBUTE', 5],
  ['(eq,error/nothing,a)', 'FILTER_ATTRIBUTE', 11],
  ['(eq,error,a)', 'FILTER_ATTRIBUTE', 5],
  ['(eq,id/more,a)', 'FILTER_ATTRIBUTE', 8],
  ['(eq,result/@key/more,a)', 'FILTER_ATTRIBUTE', 17],
  ['(eq,revision,many)', 'FILTER_VALUE', 14],
  ['(eq,operation_state,BUSY)', 'FILTER_VALUE', 21],
  ['(eq,is_cancel_pending,1)', 'FILTER_VALUE', 23],
  ['(gt,start_time,yesterday)', 'FILTER_VALUE', 16],
  ['(gt,is_cancel_pending,true)', 'FILTER_OPERATOR', 1],
  ['(cont,revision,1)', 'FILTER_OPERATOR', 1],
];

for (const [filter, reason, position] of wrong) {
  test(`filter: ${filter} is ${reason} at character ${position}`, async (t) => {
    const parse = () => parseFilter(LifecycleOperationOccurrenceSchema, filter);
    const error = await throwsRpc(t, parse, { code: Code.INVALID_ARGUMENT, reason });
    t.is(error.metadata.position, String(position));
  });
}
