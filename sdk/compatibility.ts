import type { CompatibilityStamp } from '../gen/nfv/virtualisation/v1/virtualisation_pb.js';

/** What keeps memory that was captured there from being loaded here. */
export type Mismatch = { attribute: string; there: string; here: string };

/**
 * Compares where memory was captured with where it shall be loaded: the same hypervisor, machine
 * type, processor model and accelerator, no older version, and every processor flag that the guest
 * has seen. Nothing when it fits.
 */
export function stampMismatch(
  there: CompatibilityStamp,
  here: CompatibilityStamp,
): Mismatch | undefined {
  for (const attribute of ['hypervisor', 'machineType', 'cpuModel', 'accelerator'] as const) {
    if (there[attribute] === here[attribute]) continue;
    return { attribute, there: there[attribute], here: here[attribute] };
  }
  const { hypervisorVersion } = there;
  if (isOlder(here.hypervisorVersion, hypervisorVersion)) {
    const attribute = 'hypervisorVersion';
    return { attribute, there: hypervisorVersion, here: here.hypervisorVersion };
  }
  const missing = there.cpuFlags.filter((flag) => !here.cpuFlags.includes(flag));
  if (missing.length === 0) return undefined;
  return { attribute: 'cpuFlags', there: missing.join(' '), here: 'none of these' };
}

/** Versions are numbers with dots; what is not told is not older. */
function isOlder(one: string, other: string): boolean {
  if (one === '' || other === '') return false;
  const [a, b] = [one.split('.').map(Number), other.split('.').map(Number)];
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
