import test from 'ava';
import { HealthJudge } from '../../../app/demo/health.ts';
import type { ComponentStates } from '../../../app/demo/vnf-channel.ts';

function states(issued: number, recorded: number, more: object = {}): ComponentStates {
  const common = { prepared: false, lines: 0, generation: 'g', ...more };
  return {
    a: { role: 'gateway', counter: issued, ...common },
    b: { role: 'database', counter: recorded, ...common },
  };
}

test('health: it is ok while numbers are recorded, and degraded when none was for a while', (t) => {
  const judge = new HealthJudge();
  t.is(judge.judge(states(5, 4), 0).value, 'ok');
  t.is(judge.judge(states(9, 9), 1000).value, 'ok');
  t.is(judge.judge(states(9, 9), 3900).value, 'ok');
  const { value, detail } = judge.judge(states(10, 9), 4100);
  t.is(value, 'degraded');
  t.regex(detail, /after 9/);
  t.is(judge.judge(states(11, 10), 5000).value, 'ok');
});

test('health: a restart that loses the number in memory is noticed at once', (t) => {
  const judge = new HealthJudge();
  judge.judge(states(50, 50), 0);
  t.is(judge.judge(states(1, 50), 1000).value, 'degraded');
  t.is(judge.judge(states(1, 50), 2000).value, 'degraded');
});

test('health: after a reversion it is ok as soon as it serves again', (t) => {
  const judge = new HealthJudge();
  judge.judge(states(50, 50), 0);
  t.is(judge.judge(states(20, 20), 1000).value, 'degraded');
  t.is(judge.judge(states(30, 29), 2000).value, 'ok');
});

test('health: components that stand still for a snapshot are well', (t) => {
  const judge = new HealthJudge();
  judge.judge(states(5, 5), 0);
  t.is(judge.judge(states(5, 5, { prepared: true }), 60_000).value, 'ok');
});

test('health: a fault and a component that does not answer are failures', (t) => {
  const judge = new HealthJudge();
  t.is(judge.judge(states(5, 5, { fault: 'torn' }), 0).value, 'failed');
  t.like(judge.judge(new Error('the channel was closed'), 0), {
    ...{ value: 'failed', detail: 'the channel was closed' },
  });
});
