import type { ComponentStates, ComponentStatus } from './vnf-channel.ts';

/** The two components of the demo VNF, found by what they say they are. */
export function components(states: ComponentStates): {
  gateway: ComponentStatus;
  database: ComponentStatus;
} {
  const find = (role: string) => {
    const found = Object.values(states).find((state) => state.role === role);
    if (!found) throw new Error(`the demo VNF has no component that says it is the ${role}`);
    return found;
  };
  return { gateway: find('gateway'), database: find('database') };
}

/**
 * Why two components that stand still do not fit together, or undefined when they do: the database
 * has recorded every number that was issued but, at most, the last one, and neither noticed a
 * fault.
 */
export function broken(states: ComponentStates): string | undefined {
  const fault = faultOf(states);
  if (fault) return fault;
  const { gateway, database } = components(states);
  const [issued, recorded] = [gateway.counter, database.counter];
  if (recorded > issued)
    return `the database recorded ${recorded}, the gateway issued only ${issued}`;
  if (recorded < issued - 1)
    return `the gateway issued ${issued}, the database recorded ${recorded}`;
  return undefined;
}

/** What a component noticed by itself that should never happen. */
export function faultOf(states: ComponentStates): string | undefined {
  const faulty = Object.values(states).find((state) => state.fault);
  return faulty && `the ${faulty.role} reports: ${faulty.fault}`;
}

/** True when all components are prepared: then what they say is of one moment. */
export function standStill(states: ComponentStates): boolean {
  return Object.values(states).every((state) => state.prepared);
}

/** The numbers of both components in a few words. */
export function describe(states: ComponentStates): string {
  const { gateway, database } = components(states);
  const found = standStill(states) ? broken(states) : faultOf(states);
  return `the gateway holds ${gateway.counter}, the database ${database.counter}${found ? `: ${found}` : ''}`;
}
