import type { DriverView } from './capabilities.ts';
import type { InstantiationPlan } from './instantiation-plan.ts';
import type { Component } from './situation.ts';

/** Captured state that is not on the host where it is wanted. JSON, because plans are journaled; sizes in bytes as text. */
export type Carried = {
  vnfcInstanceId: string;
  /** The instance snapshot where it is. */
  snapshotId: string;
  /** The copy on the host, and the package that brings it there. */
  copyId: string;
  environment: string;
  host: string;
  sizeBytes: string;
};

/** Components that come back on another host: what is made for them there, and what ends here. */
export type Move = InstantiationPlan & {
  host: string;
  /** What they leave. */
  left: {
    computes: { vnfcInstanceId: string; computeId: string }[];
    /** Names are those for people, for example "gateway-0/data". */
    storages: { name: string; storageId: string }[];
    networks: { name: string; networkId: string }[];
  };
};

/** What a reversion does about hosts (GR NFV-TST 005 table 5.1.3.3-1, "target host"). */
export type HostPlan = { carried: Carried[]; move?: Move };

/** The host of a component after the reversion: the named one takes the components of its kind. */
export function hostAfter({ environment, driver }: Component, target?: DriverView): DriverView {
  return target && environment === target.kind ? target : driver;
}
