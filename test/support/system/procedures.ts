import type { LifecycleOperationOccurrence } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { SystemRig } from './system-rig.ts';

/**
 * What every procedure starts from: a running VNF, a snapshot, its package, and an archive of a
 * package that is gone.
 */
export type Base = {
  snapshot: string;
  package: string;
  /** The package that is only in the archive "other". */
  otherPackage: string;
  archives: string[];
};

/** What is there after an operation: no more and no less. */
export type Expected = { snapshots: string[]; packages: string[]; archives: string[] };

/** An operation of the main job that a test interrupts. */
export type ProcedureUnderTest = {
  /** As its failpoints name it. */
  name: string;
  /** A repeat with the same request id gives the same operation. */
  begin(
    rig: SystemRig,
    base: Base,
    requestId: string,
  ): Promise<{ lifecycleOperationOccurrenceId: string }>;
  /** What was there before an operation that is undone, besides what all start from. */
  undone?(rig: SystemRig, requestId: string): Partial<Expected>;
  /** What a completed operation adds. */
  added(base: Base, occurrence: LifecycleOperationOccurrence): Partial<Expected>;
  /** Uses what was made, by another procedure; throws when it is not good for that. */
  use?: {
    by: string;
    run(rig: SystemRig, occurrence: LifecycleOperationOccurrence): Promise<void>;
  };
};

/** The archive that `exportPackage` writes. */
const exported = 'exported';

export const procedures: readonly ProcedureUnderTest[] = [
  {
    name: 'create-vnf-snapshot',
    begin: (rig, _base, requestId) => rig.createSnapshot(requestId),
    added: (_base, { vnfSnapshotInfoId }) => ({ snapshots: [vnfSnapshotInfoId] }),
    use: { by: 'revert-to-vnf-snapshot', run: goBack },
  },
  {
    name: 'create-vnf-snapshot-package',
    begin: (rig, base, requestId) => rig.createPackage(base.snapshot, requestId),
    added: (_base, { vnfSnapshotPkgId }) => ({ packages: [vnfSnapshotPkgId] }),
  },
  {
    name: 'revert-to-vnf-snapshot',
    begin: (rig, base, requestId) => rig.revert(base.snapshot, requestId),
    added: () => ({}),
  },
  {
    name: 'extract-vnf-snapshot-package',
    begin: (rig, base, requestId) => rig.extractPackage(base.package, requestId),
    added: (_base, { vnfSnapshotInfoId }) => ({ snapshots: [vnfSnapshotInfoId] }),
    use: { by: 'revert-to-vnf-snapshot', run: goBack },
  },
  {
    name: 'export-vnf-snapshot-package',
    begin: (rig, base, requestId) => rig.exportPackage(base.package, exported, requestId),
    added: () => ({ archives: [`${exported}.zip`] }),
    use: { by: 'import-vnf-snapshot-package', run: readAgain },
  },
  {
    name: 'import-vnf-snapshot-package',
    begin: (rig, _base, requestId) => rig.importPackage('other', requestId),
    added: (base) => ({ packages: [base.otherPackage] }),
  },
];

/** Operations on the VNF itself, which add nothing. */
export const lifeCycle: readonly ProcedureUnderTest[] = [
  {
    name: 'operate-vnf',
    begin: (rig, _base, requestId) => rig.powerCycle(requestId),
    added: () => ({}),
  },
  {
    name: 'terminate-vnf',
    begin: (rig, _base, requestId) => rig.comeAndGo(requestId),
    added: () => ({}),
  },
  {
    name: 'heal-vnf',
    begin: (rig, _base, requestId) => rig.heal(requestId),
    added: () => ({}),
    // It powers off and on itself.
    use: { by: 'operate-vnf', run: async () => {} },
  },
];

/** The same asked of the NFVO, as part of the life cycle of a network service. */
export const nsLevel: readonly ProcedureUnderTest[] = [
  {
    name: 'create-vnf-snapshot',
    begin: (rig, _base, requestId) => rig.createSnapshotOfNs(requestId),
    added: (_base, { vnfSnapshotInfoId }) => ({ snapshots: [vnfSnapshotInfoId] }),
  },
  {
    name: 'revert-to-vnf-snapshot',
    begin: (rig, base, requestId) => rig.revertNs(base.snapshot, requestId),
    added: () => ({}),
  },
];

/** Back to a snapshot of components that were powered off for it; they stay off until somebody starts them. */
export const backToStopped: ProcedureUnderTest = {
  name: 'revert-to-vnf-snapshot',
  begin: (rig, base, requestId) => rig.revert(base.snapshot, requestId),
  added: () => ({}),
  use: {
    by: 'operate-vnf',
    run: async (rig) => {
      const { lifecycleOperationOccurrenceId: id } = await rig.powerOn();
      await rig.completed(id);
    },
  },
};

/** Each deletes what it has made first. */
export const deletions: readonly ProcedureUnderTest[] = [
  {
    name: 'delete-vnf-snapshot',
    begin: (rig, _base, requestId) => rig.takeAndDelete(requestId),
    added: () => ({}),
  },
  {
    name: 'delete-vnf-snapshot-package',
    begin: (rig, base, requestId) => rig.packAndDelete(base.snapshot, requestId),
    added: () => ({}),
  },
];

/** A snapshot that takes the place of one before it, which is made first. */
export const replacing: ProcedureUnderTest = {
  name: 'create-vnf-snapshot',
  begin: (rig, _base, requestId) => rig.replaceSnapshot(requestId),
  added: (_base, { vnfSnapshotInfoId }) => ({ snapshots: [vnfSnapshotInfoId] }),
  undone: (rig, requestId) => ({ snapshots: [rig.replacedBy(requestId)] }),
};

/** Back to the snapshot on another host; then home again. */
export const onAnotherHost: ProcedureUnderTest = {
  name: 'revert-to-vnf-snapshot',
  begin: (rig, base, requestId) => rig.revertOn(rig.hosts[1]!, base.snapshot, requestId),
  added: () => ({}),
  use: {
    by: 'revert-to-vnf-snapshot',
    run: async (rig, { vnfSnapshotInfoId }) => {
      const { lifecycleOperationOccurrenceId: id } = await rig.revertOn(
        rig.driver,
        vnfSnapshotInfoId,
      );
      await rig.completed(id);
    },
  },
};

/** Brings the VNF back to the snapshot that was made. */
async function goBack(rig: SystemRig, made: LifecycleOperationOccurrence): Promise<void> {
  const { lifecycleOperationOccurrenceId: id } = await rig.revert(made.vnfSnapshotInfoId);
  await rig.completed(id);
}

/**
 * An import checks every byte of the archive; that its package is there already changes nothing.
 */
async function readAgain(rig: SystemRig): Promise<void> {
  const { lifecycleOperationOccurrenceId: id } = await rig.importPackage(exported);
  await rig.completed(id);
}

/** Makes what every procedure starts from. */
export async function makeBase(rig: SystemRig): Promise<Base> {
  if (rig.vnfId === '') await rig.instantiate();
  const taken = await rig.createSnapshot();
  await rig.completed(taken.lifecycleOperationOccurrenceId);
  const snapshot = taken.vnfSnapshotInfoId;
  const other = await rig.createPackage(snapshot);
  await rig.completed(other.lifecycleOperationOccurrenceId);
  const archived = await rig.exportPackage(other.vnfSnapshotPkgId, 'other');
  await rig.completed(archived.lifecycleOperationOccurrenceId);
  await rig.deletePackage(other.vnfSnapshotPkgId);
  const packed = await rig.createPackage(snapshot);
  await rig.completed(packed.lifecycleOperationOccurrenceId);
  return {
    snapshot,
    package: packed.vnfSnapshotPkgId,
    otherPackage: other.vnfSnapshotPkgId,
    archives: ['other.zip'],
  };
}

/** The whole of what is there before an operation. */
export function atFirst(base: Base): Expected {
  return { snapshots: [base.snapshot], packages: [base.package], archives: base.archives };
}

/** What is there when an operation has completed. */
export function afterwards(base: Base, added: Partial<Expected>): Expected {
  const first = atFirst(base);
  return {
    snapshots: [...first.snapshots, ...(added.snapshots ?? [])],
    packages: [...first.packages, ...(added.packages ?? [])],
    archives: [...first.archives, ...(added.archives ?? [])],
  };
}
