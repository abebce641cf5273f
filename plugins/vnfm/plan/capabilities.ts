import { normalize } from 'node:path';
import type { DriverCapabilities } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import type { CompatibilityStamp } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { stampMismatch } from '../../../sdk/compatibility.ts';
import { failedPrecondition, notFound, unavailable, unimplemented } from '../../../sdk/errors.ts';
import { isWithin } from '../../../sdk/snapshot-folder.ts';

/** Each of them is enough to capture and to load memory. */
export const memoryCapabilities: readonly CapabilityName[] = [
  CapabilityName.MEMORY_EXTERNAL,
  CapabilityName.MEMORY_INTERNAL,
];

/** Each of them is enough to capture disks. */
export const diskCapabilities: readonly CapabilityName[] = [
  CapabilityName.DISK_EXTERNAL_INCREMENTAL,
  CapabilityName.DISK_EXTERNAL_SEQUENTIAL,
  CapabilityName.DISK_INTERNAL,
];

/** What the driver of one component can do now. */
export class DriverView {
  readonly #driver: DriverCapabilities;

  constructor(driver: DriverCapabilities) {
    this.#driver = driver;
  }

  /** The plugin instance, which stands for a host. */
  get instance(): string {
    return this.#driver.driver;
  }

  /** The kind of driver, for example "qemu". */
  get kind(): string {
    return this.#driver.virtualisationEnvironment;
  }

  has(name: CapabilityName): boolean {
    return this.#find(name)?.available === true;
  }

  /** Why it cannot, in words. */
  reason(name: CapabilityName): string {
    return this.#find(name)?.reason || `driver "${this.#driver.driver}" does not offer it`;
  }

  /**
   * Memory that was captured elsewhere fits this driver's machines. FAILED_PRECONDITION with reason
   * INCOMPATIBLE; a snapshot or a driver without a stamp is judged by the driver itself.
   */
  requireStamp(stamp: CompatibilityStamp | undefined, vnfc: string): void {
    const here = this.#driver.compatibility;
    if (stamp === undefined || here === undefined) return;
    const mismatch = stampMismatch(stamp, here);
    if (!mismatch) return;
    const { attribute, there, here: own } = mismatch;
    const text = `${vnfc}: its memory was captured with ${attribute} "${there}", driver "${this.#driver.driver}" has "${own}"`;
    throw failedPrecondition('INCOMPATIBLE', `${text}; take a cold snapshot, or force it`, {
      ...{ ...mismatch, vnfc_instance_id: vnfc },
    });
  }

  /**
   * UNIMPLEMENTED with reason CAPABILITY_MISSING unless it keeps snapshots in such a folder; the driver judges again,
   * with links resolved.
   */
  requireFolder(folder: string, vnfc: string): void {
    const { snapshotFolders: known, driver } = this.#driver;
    if (known.some((item) => isWithin(normalize(folder), normalize(item)))) return;
    const where = known.length > 0 ? `only in or below ${known.join(', ')}` : 'in no folder';
    const text = `${vnfc}: driver "${driver}" keeps snapshots of a caller ${where} (its snapshotFolders), not in "${folder}"`;
    throw unimplemented('CAPABILITY_MISSING', text, { folder, driver, vnfc_instance_id: vnfc });
  }

  /** UNIMPLEMENTED with reason CAPABILITY_MISSING unless one of the capabilities is there. */
  require(names: readonly CapabilityName[], vnfc: string, forWhat: string): void {
    if (names.some((name) => this.has(name))) return;
    const capability = names.map((name) => CapabilityName[name]).join(' or ');
    const why = names.map((name) => this.reason(name)).join('; ');
    const text = `${vnfc}: ${forWhat} needs ${capability} of driver "${this.#driver.driver}": ${why}`;
    throw unimplemented('CAPABILITY_MISSING', text, {
      capability,
      driver: this.#driver.driver,
      vnfc_instance_id: vnfc,
    });
  }

  #find(name: CapabilityName) {
    return this.#driver.capabilities.find((capability) => capability.name === name);
  }
}

/**
 * The driver that has a component, by instance, else by kind. UNAVAILABLE with reason
 * DRIVER_UNAVAILABLE when it does not answer now.
 */
export function driverOf(
  drivers: readonly DriverCapabilities[],
  instance: string,
  kind: string,
): DriverView {
  const candidates = drivers.filter((driver) => driver.driver === instance);
  const found =
    candidates[0] ?? drivers.find((driver) => driver.virtualisationEnvironment === kind);
  if (found && found.unavailableReason === '') return new DriverView(found);
  throw notAsked(instance || kind, found?.unavailableReason ?? 'the VIM does not list it');
}

/**
 * The host that a request names. NOT_FOUND with reason HOST_UNKNOWN; UNAVAILABLE with reason
 * DRIVER_UNAVAILABLE when it does not answer now.
 */
export function hostView(drivers: readonly DriverCapabilities[], host: string): DriverView {
  const found = drivers.find(({ driver }) => driver === host);
  if (!found) {
    const known = drivers.map(({ driver }) => driver).join(', ') || 'none';
    const text = `target_host: the VIM has no host "${host}"; it has: ${known}`;
    throw notFound('HOST_UNKNOWN', text, { host, known });
  }
  if (found.unavailableReason === '') return new DriverView(found);
  throw notAsked(host, found.unavailableReason);
}

function notAsked(driver: string, why: string) {
  return unavailable('DRIVER_UNAVAILABLE', `driver "${driver}" cannot be asked: ${why}`, {
    driver,
  });
}
