import { components, faultOf } from '../demo/invariant.ts';
import type { VnfAgent } from '../demo/vnf-agent.ts';
import type { ComponentStates } from '../demo/vnf-channel.ts';

/** What a consumer of the network service can tell. */
export type ServiceLevel = {
  /** Numbers that were handed out and recorded each second. */
  numbersPerSecond: number;
  /** What went wrong; empty when nothing did. */
  fault: string;
};

const measureMs = 3000;
/** The share of the expected traffic below which a test has failed. */
const acceptable = 0.5;

/**
 * The consumers' way to the service: it leads to one VNF at a time and is switched to another in an
 * instant.
 */
export class ServiceFront {
  private behind: VnfAgent;

  constructor(agent: VnfAgent) {
    this.behind = agent;
  }

  switchTo(agent: VnfAgent): void {
    this.behind = agent;
  }

  /** Watches the traffic for some seconds. A component that does not answer is a fault. */
  async measure(): Promise<ServiceLevel> {
    const before = await this.look();
    const startMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, measureMs));
    const after = await this.look();
    if (before instanceof Error || after instanceof Error) {
      const error = (after instanceof Error ? after : before) as Error;
      return { numbersPerSecond: 0, fault: error.message };
    }
    const seconds = (performance.now() - startMs) / 1000;
    const recorded = components(after).database.counter - components(before).database.counter;
    return { numbersPerSecond: Math.max(0, recorded) / seconds, fault: faultOf(after) ?? '' };
  }

  private look(): Promise<ComponentStates | Error> {
    return this.behind.askAll('status', 2000).catch((error: Error) => error);
  }
}

/** Why a service level is not what was expected; undefined when it is. */
export function shortfall(expected: ServiceLevel, actual: ServiceLevel): string | undefined {
  if (actual.fault !== '') return actual.fault;
  if (actual.numbersPerSecond >= expected.numbersPerSecond * acceptable) return undefined;
  return `${describeLevel(actual)}, expected were ${describeLevel(expected)}`;
}

export function describeLevel({ numbersPerSecond, fault }: ServiceLevel): string {
  return `${numbersPerSecond.toFixed(1)} numbers a second${fault && ` (${fault})`}`;
}
