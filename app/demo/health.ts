import { components, faultOf, standStill } from './invariant.ts';
import type { ComponentStates } from './vnf-channel.ts';

/** How long the gateway may issue nothing before the VNF is not well. */
const stillMsMax = 3000;

/** What the demo VNF says of itself: the indicator "health". */
export type HealthReport = { value: 'ok' | 'degraded' | 'failed'; detail: string };

/** Judges the VNF by what its components answer one time after the other. */
export class HealthJudge {
  private last = { counter: -1, atMs: 0 };

  /** `states` is an error when a component did not answer. */
  judge(states: ComponentStates | Error, nowMs: number): HealthReport {
    if (states instanceof Error) return { value: 'failed', detail: states.message.slice(0, 500) };
    const fault = faultOf(states);
    if (fault !== undefined) return { value: 'failed', detail: fault };
    const { counter } = components(states).gateway;
    if (counter !== this.last.counter || standStill(states)) this.last = { counter, atMs: nowMs };
    if (nowMs - this.last.atMs <= stillMsMax) return { value: 'ok', detail: '' };
    return { value: 'degraded', detail: `no number was issued since ${counter}` };
  }
}
