import test from 'ava';
import { OperationState } from '../../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../../sdk/errors.ts';
import {
  type Direction,
  isAtRest,
  isFinal,
  type Machine,
  nextState,
  type OperationEvent,
  type PendingCancel,
} from '../../../../sdk/operations/next-state.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

/** "STATE/direction" with "+graceful" or "+forceful" for a pending cancel. */
function parse(text: string): Machine {
  const [, state, direction, cancel = 'none'] = /^(\w+)\/(\w+)(?:\+(\w+))?$/.exec(text) ?? [];
  return {
    state: OperationState[state as keyof typeof OperationState],
    direction: direction as Direction,
    cancel: cancel as PendingCancel,
  };
}

function format({ state, direction, cancel }: Machine): string {
  return `${OperationState[state]}/${direction}${cancel === 'none' ? '' : `+${cancel}`}`;
}

const yes = { reversible: true };
const no = { reversible: false };
const failed = { kind: 'failed', policy: 'rollback', ...yes } as const;
const failedTemp = { kind: 'failed', policy: 'failed-temp', ...yes } as const;
const crashed = { kind: 'crashed', held: false, policy: 'resume', ...yes } as const;

const transitions: [from: string, event: OperationEvent, to: string][] = [
  ['STARTING/forward', { kind: 'begin' }, 'PROCESSING/forward'],
  ['STARTING/forward+graceful', { kind: 'begin' }, 'ROLLED_BACK/none'],
  ['STARTING/forward', failed, 'ROLLED_BACK/none'],
  ['STARTING/forward', failedTemp, 'ROLLED_BACK/none'],
  ['STARTING/forward+forceful', { kind: 'cancelled', ...yes }, 'ROLLED_BACK/none'],
  ['STARTING/forward', { kind: 'undo-failed' }, 'FAILED_TEMP/none'],
  ['PROCESSING/forward', { kind: 'succeeded', ...yes }, 'COMPLETED/none'],
  ['PROCESSING/forward', { kind: 'succeeded', ...no }, 'COMPLETED/none'],
  ['PROCESSING/forward+graceful', { kind: 'succeeded', ...yes }, 'ROLLING_BACK/back'],
  ['PROCESSING/forward+graceful', { kind: 'succeeded', ...no }, 'PROCESSING/release'],
  ['PROCESSING/forward', failed, 'ROLLING_BACK/back'],
  ['PROCESSING/forward', { ...failed, ...no }, 'PROCESSING/release'],
  ['PROCESSING/forward', failedTemp, 'PROCESSING/release'],
  ['PROCESSING/forward+forceful', failedTemp, 'ROLLING_BACK/back'],
  ['PROCESSING/forward+forceful', { ...failedTemp, ...no }, 'PROCESSING/release'],
  ['PROCESSING/forward+graceful', { kind: 'cancelled', ...yes }, 'ROLLING_BACK/back'],
  ['PROCESSING/forward+graceful', { kind: 'cancelled', ...no }, 'PROCESSING/release'],
  ['PROCESSING/release', { kind: 'released', ...yes }, 'FAILED_TEMP/none'],
  ['PROCESSING/release+graceful', { kind: 'released', ...yes }, 'ROLLING_BACK/back'],
  ['PROCESSING/rewind', { kind: 'rewound' }, 'PROCESSING/forward'],
  ['PROCESSING/rewind+graceful', { kind: 'rewound' }, 'PROCESSING/forward+graceful'],
  ['PROCESSING/rewind', { kind: 'undo-failed' }, 'PROCESSING/release'],
  ['ROLLING_BACK/back', { kind: 'undone' }, 'ROLLED_BACK/none'],
  ['ROLLING_BACK/back', { kind: 'undo-failed' }, 'FAILED_TEMP/none'],
  ['ROLLING_BACK/back+graceful', { kind: 'cancelled', ...yes }, 'FAILED_TEMP/none'],
  ['FAILED_TEMP/none', { kind: 'retry' }, 'PROCESSING/rewind'],
  ['FAILED_TEMP/none', { kind: 'rollback', ...yes }, 'ROLLING_BACK/back'],
  ['FAILED_TEMP/none', { kind: 'fail' }, 'FAILED/none'],
  ['STARTING/forward', { kind: 'cancel', mode: 'graceful' }, 'STARTING/forward+graceful'],
  ['PROCESSING/forward', { kind: 'cancel', mode: 'forceful' }, 'PROCESSING/forward+forceful'],
  [
    'PROCESSING/forward+graceful',
    { kind: 'cancel', mode: 'forceful' },
    'PROCESSING/forward+forceful',
  ],
  [
    'PROCESSING/forward+forceful',
    { kind: 'cancel', mode: 'graceful' },
    'PROCESSING/forward+forceful',
  ],
  ['ROLLING_BACK/back', { kind: 'cancel', mode: 'graceful' }, 'ROLLING_BACK/back+graceful'],
  ['STARTING/forward', { ...crashed, held: true }, 'STARTING/forward'],
  ['PROCESSING/forward', crashed, 'PROCESSING/forward'],
  ['PROCESSING/forward', { ...crashed, held: true }, 'ROLLING_BACK/back'],
  ['PROCESSING/forward', { ...crashed, policy: 'rollback' }, 'ROLLING_BACK/back'],
  ['PROCESSING/forward', { ...crashed, held: true, ...no }, 'PROCESSING/release'],
  ['PROCESSING/release', { ...crashed, held: true }, 'PROCESSING/release'],
  ['PROCESSING/rewind', { ...crashed, held: true }, 'PROCESSING/rewind'],
  ['ROLLING_BACK/back', crashed, 'ROLLING_BACK/back'],
];

for (const [from, event, to] of transitions) {
  test(`nextState: ${from} with ${JSON.stringify(event)} is ${to}`, (t) => {
    t.is(format(nextState(parse(from), event)), to);
  });
}

const states = Object.values(OperationState).filter((value) => typeof value === 'number');

test('nextState: retry, rollback and fail are refused in every state but FAILED_TEMP', async (t) => {
  for (const state of states.filter((each) => each !== OperationState.FAILED_TEMP)) {
    const now: Machine = { state, direction: 'none', cancel: 'none' };
    for (const event of [
      { kind: 'retry' },
      { kind: 'rollback', ...yes },
      { kind: 'fail' },
    ] as const) {
      await throwsRpc(t, () => nextState(now, event), {
        code: Code.FAILED_PRECONDITION,
        reason: 'OPERATION_STATE',
      });
    }
  }
});

test('nextState: a rollback over an irreversible step is refused', async (t) => {
  await throwsRpc(t, () => nextState(parse('FAILED_TEMP/none'), { kind: 'rollback', ...no }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'ROLLBACK_IMPOSSIBLE',
  });
});

test('nextState: a cancel is refused unless something is going on', async (t) => {
  const { STARTING, PROCESSING, ROLLING_BACK } = OperationState;
  for (const state of states) {
    const now: Machine = { state, direction: 'none', cancel: 'none' };
    const cancel = () => nextState(now, { kind: 'cancel', mode: 'forceful' });
    if (state === STARTING || state === PROCESSING || state === ROLLING_BACK) t.notThrows(cancel);
    else {
      await throwsRpc(t, cancel, { code: Code.FAILED_PRECONDITION, reason: 'OPERATION_STATE' });
    }
  }
});

const impossible: [from: string, event: OperationEvent][] = [
  ['STARTING/forward', { kind: 'succeeded', ...yes }],
  ['PROCESSING/forward', { kind: 'begin' }],
  ['PROCESSING/forward', { kind: 'undone' }],
  ['PROCESSING/release', { kind: 'succeeded', ...yes }],
  ['PROCESSING/rewind', { kind: 'undone' }],
  ['ROLLING_BACK/back', { kind: 'succeeded', ...yes }],
  ['COMPLETED/none', failed],
  ['FAILED_TEMP/none', { kind: 'undone' }],
];
for (const [from, event] of impossible) {
  test(`nextState: ${event.kind} in ${from} is a mistake of the engine`, async (t) => {
    await throwsRpc(t, () => nextState(parse(from), event), {
      code: Code.INTERNAL,
      reason: 'OPERATION_EVENT',
    });
  });
}

test('nextState: COMPLETED, FAILED and ROLLED_BACK are final; FAILED_TEMP only rests', (t) => {
  const named = (test: (state: OperationState) => boolean) =>
    states
      .filter(test)
      .map((state) => OperationState[state])
      .toSorted();
  t.deepEqual(named(isFinal), ['COMPLETED', 'FAILED', 'ROLLED_BACK']);
  t.deepEqual(named(isAtRest), ['COMPLETED', 'FAILED', 'FAILED_TEMP', 'ROLLED_BACK']);
});
