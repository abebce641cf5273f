import { components, faultOf, standStill } from './invariant.ts';
import type { ComponentStates } from './vnf-channel.ts';

/** How long the database may record nothing before the VNF is not well. */
const stillMsMax = 3000;

/** What the demo VNF says of itself: the indicator "health". */
export type HealthReport = { value: 'ok' | 'degraded' | 'failed'; detail: string };

/**
 * Judges the VNF by what its components answer one time after the other: it serves as long as the
 * database records numbers. When a number goes back, memory was lost or reverted, and it has to
 * show anew that it serves.
 */
export class HealthJudge {
  private last = { issued: 0, recorded: 0 };
  private servedMs: number | undefined;

  /** `states` is an error when a component did not answer. */
  judge(states: ComponentStates | Error, nowMs: number): HealthReport {
    if (states instanceof Error) return { value: 'failed', detail: states.message.slice(0, 500) };
    const fault = faultOf(states);
    if (fault !== undefined) return { value: 'failed', detail: fault };
    const { gateway, database } = components(states);
    const { issued, recorded } = this.last;
    if (gateway.counter < issued || database.counter < recorded) this.servedMs = undefined;
    else if (database.counter > recorded || standStill(states)) this.servedMs = nowMs;
    this.last = { issued: gateway.counter, recorded: database.counter };
    if (this.servedMs !== undefined && nowMs - this.servedMs <= stillMsMax) {
      return { value: 'ok', detail: '' };
    }
    return { value: 'degraded', detail: `no number is recorded after ${database.counter}` };
  }
}
