import type { JsonValue } from '@bufbuild/protobuf';
import type { ProcessIdentity } from '../host/process.ts';

/** One life of QEMU for a compute resource; a revert begins a new one. */
export type RunRecord = {
  /** Names the run folder; grows. */
  number: number;
  /** What the process answers to query-uuid. */
  uuid: string;
  /** Absent between the record and the start of the process. */
  process?: ProcessIdentity;
};

/** A volume and the name of its images. */
export type Attachment = { volumeId: string; name: string };

export type ComputeRecord = {
  computeId: string;
  /** nfv.virtualisation.v1.ComputeSpec as JSON. */
  spec: JsonValue;
  memoryMib: number;
  virtualCpus: number;
  /** Kernel, initial file system and command line; absent: the disk's own boot loader. */
  kernel?: { path: string; initrdPath: string; commandLine: string };
  vnfChannel: boolean;
  attachments: Attachment[];
  interfaces: { networkId: string; slot: number; mac: string }[];
  createTimeMs: number;
  /**
   * What was asked for last; a process that is gone while RUNNING or PAUSED is wanted has failed.
   */
  wanted: 'STOPPED' | 'RUNNING' | 'PAUSED';
  failure?: string;
  run?: RunRecord;
  lastRun: number;
  generationId: string;
  /** The snapshot that the present disks descend from. */
  parentSnapshotId?: string;
  /** Memory was loaded whose file systems are frozen. */
  frozen: boolean;
  /** Memory was loaded, and the guest's clock has not been set since. */
  clockBehind?: boolean;
  /** When the guest stood still under its hold: later than the lease, which comes first. */
  holdStart?: { leaseId: string; timeMs: number };
  /** The last calls with an effect that an id does not make repeatable, the newest last. */
  calls: { key: string; leaseId?: string }[];
};

export type VolumeRecord = {
  volumeId: string;
  sizeBytes: number;
  /** The image's name; empty for an empty volume. */
  image: string;
  /** The layer that is written. */
  activeLayerId: string;
  createTimeMs: number;
};

/** One file of a disk's chain. Immutable once it is not the active layer of a volume. */
export type LayerRecord = {
  layerId: string;
  parentId?: string;
  format: 'qcow2' | 'raw';
  sizeBytes: number;
  /** For the bottom layer of volumes made from an image: the digest that names it. */
  imageDigest?: string;
};

export type NetworkRecord = { networkId: string; createTimeMs: number };

export type SnapshotRecord = {
  snapshotId: string;
  /** nfv.virtualisation.v1.InstanceSnapshot as JSON. */
  instance: JsonValue;
  /** The frozen top layer of each disk, by image name. */
  layers: Record<string, string>;
  /** What it was asked with, to tell a repeat from another request. */
  request: string;
  /** Grows with each snapshot: "oldest first". */
  order: number;
};

/** An import that is not sealed yet. */
export type ImportRecord = { snapshotId: string; instance: JsonValue; beginTimeMs: number };

/** Data that somebody reads: its layers are neither deleted nor merged. */
export type OpeningRecord = {
  token: string;
  snapshotId?: string;
  volumeId?: string;
  topLayerIds: string[];
  expireTimeMs: number;
};

export type Records = {
  compute: ComputeRecord;
  volume: VolumeRecord;
  layer: LayerRecord;
  network: NetworkRecord;
  snapshot: SnapshotRecord;
  import: ImportRecord;
  opening: OpeningRecord;
};
