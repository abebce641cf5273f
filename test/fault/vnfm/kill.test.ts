import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { HealAction } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { NotificationType } from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { PowerOff } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { eventually } from '../../support/eventually.ts';
import { noteKill } from '../../support/kill-figures.ts';
import { type CrashRig, crashRig, type RunningVnfm } from '../../support/vnfm/crash-rig.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { completed, demoVnfd, finished, instantiated } from '../../support/vnfm/rig.ts';

/** What a kill interrupts: how it is started, and what has to hold afterwards. */
type Job = {
  procedure: string;
  /** Steps whose effect has happened but is not recorded yet when the process dies. */
  steps: string[];
  /** Those of them that the preparation takes as well, and survives. */
  prepared?: string[];
  vnfd?: ReturnType<typeof demoVnfd>;
  start(vnfm: RunningVnfm, ready: Ready): Promise<{ lifecycleOperationOccurrenceId: string }>;
  check(
    t: ExecutionContext,
    rig: CrashRig,
    vnfm: RunningVnfm,
    ready: Ready,
    done: boolean,
  ): Promise<void>;
};

type Ready = { vnf: string; snapshot: string; pkg: string };

const both = (name: string) => [`${name} gateway-0`, `${name} database-0`];

const create: Job = {
  procedure: 'create-vnf-snapshot',
  steps: [
    ...['grant', 'notify start', 'quiesce database-0', ...both('hold'), ...both('capture')],
    ...[...both('release'), 'unquiesce gateway-0', 'save', 'notify end'],
  ],
  start: (vnfm, { vnf }) => vnfm.lcm.createVnfSnapshot({ vnfInstanceId: vnf, requestId: 'one' }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.is(rig.world.snapshots.size, done ? 4 : 2, 'a whole snapshot or none is at the VIM');
    const { vnfSnapshotInfos } = await vnfm.lcm.queryVnfSnapshotInfo({});
    t.is(vnfSnapshotInfos.length, done ? 2 : 1, 'a whole snapshot or none is listed');
  },
};

/** The database is powered off before and on after (clause 6.4.1 steps 5 and 34). */
const createPowered: Job = {
  ...create,
  steps: ['stop database-0', 'capture database-0', 'start database-0'],
  vnfd: demoVnfd({
    vnfc: [{ vduId: 'database', powerOff: PowerOff.BEFORE, powerOnAfter: true }],
  }),
};

const around = { powerOff: PowerOff.BEFORE, detachBefore: true, attachAfter: true };

function attached(rig: CrashRig, { vnf }: Ready): string[] {
  return rig.world.guest(`${vnf}.database-0`).spec.volumes.map(({ name }) => name);
}

/** The database's disk is detached before and attached after (clause 6.4.1 steps 9 and 30). */
const createDetaching: Job = {
  ...create,
  steps: ['detach database-0', 'capture database-0', 'attach database-0', 'start database-0'],
  vnfd: demoVnfd({ vnfc: [{ vduId: 'database', powerOnAfter: true, ...around }] }),
  check: async (t, rig, vnfm, ready, done) => {
    await create.check(t, rig, vnfm, ready, done);
    t.deepEqual(attached(rig, ready), ['data']);
  },
};

/** The same in a reversion (clause 6.4.3 steps 9 and 21). */
const revertDetaching: Job = {
  procedure: 'revert-to-vnf-snapshot',
  steps: ['stop database-0', 'detach database-0', 'revert database-0', 'attach database-0'],
  vnfd: demoVnfd({ vnfc: [{ vduId: 'database', powerOnAfter: true, ...around }] }),
  start: (vnfm, { vnf, snapshot }) =>
    vnfm.lcm.revertToVnfSnapshot({ vnfInstanceId: vnf, vnfSnapshotInfoId: snapshot }),
  check: async (t, rig, _vnfm, ready, done) => {
    const database = rig.world.guest(`${ready.vnf}.database-0`);
    t.is(rig.world.guest(`${ready.vnf}.gateway-0`).memory, done ? 1 : 11);
    t.is(database.memory, done ? 0 : 12);
    t.is(database.state, done ? ComputeState.STOPPED : ComputeState.RUNNING);
    t.deepEqual(attached(rig, ready), ['data']);
    t.is(rig.world.snapshots.size, 2, 'no safety snapshot is left');
    // The common check wants all to run.
    database.state = ComputeState.RUNNING;
  },
};

const createReplacing: Job = {
  ...create,
  steps: ['save', 'delete replaced'],
  prepared: ['save'],
  start: (vnfm, { vnf, snapshot }) =>
    vnfm.lcm.createVnfSnapshot({ vnfInstanceId: vnf, replacesVnfSnapshotInfoId: snapshot }),
  check: async (t, rig, vnfm, { snapshot }, done) => {
    t.is(rig.world.snapshots.size, 2, 'one whole snapshot is at the VIM');
    const { vnfSnapshotInfos } = await vnfm.lcm.queryVnfSnapshotInfo({});
    t.is(vnfSnapshotInfos.length, 1, 'there is always one');
    t.is(vnfSnapshotInfos[0]!.id === snapshot, !done);
  },
};

const revert: Job = {
  procedure: 'revert-to-vnf-snapshot',
  steps: [
    ...['notify start', 'guard', 'hold gateway-0', ...both('safety')],
    ...[...both('revert'), ...both('release'), 'unquiesce database-0'],
    ...['new generation', 'notify end', 'delete safety'],
  ],
  start: (vnfm, { vnf, snapshot }) =>
    vnfm.lcm.revertToVnfSnapshot({ vnfInstanceId: vnf, vnfSnapshotInfoId: snapshot }),
  check: async (t, rig, _vnfm, { vnf }, done) => {
    const memories = ['gateway-0', 'database-0'].map(
      (vnfc) => rig.world.guest(`${vnf}.${vnfc}`).memory,
    );
    t.deepEqual(
      memories,
      done ? [1, 2] : [11, 12],
      'all are at the snapshot, or all where they were',
    );
    t.is(rig.world.snapshots.size, 2, 'no safety snapshot is left');
  },
};

const createPackage: Job = {
  procedure: 'create-vnf-snapshot-package',
  steps: [...both('pack'), 'compose', 'clean up'],
  start: (vnfm, { snapshot }) =>
    vnfm.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId: snapshot }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.is(rig.repository.idsOf(PackageKind.VNF).length, done ? 2 : 1);
    t.is(rig.repository.idsOf(PackageKind.VNFC).length, 0, 'no part is left');
    const { vnfSnapshotPkgInfos } = await vnfm.packages.queryVnfSnapshotPackageInfo({});
    t.is(vnfSnapshotPkgInfos.length, done ? 2 : 1);
  },
};

const extract: Job = {
  procedure: 'extract-vnf-snapshot-package',
  steps: ['download', ...both('extract'), 'store'],
  start: (vnfm, { pkg }) => vnfm.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId: pkg }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.is(rig.world.snapshots.size, done ? 4 : 2);
    const { vnfSnapshotInfos } = await vnfm.lcm.queryVnfSnapshotInfo({});
    t.is(vnfSnapshotInfos.length, done ? 2 : 1);
  },
};

/** A restart with a snapshot before it: operations of its own go on, none is started twice. */
const heal: Job = {
  procedure: 'heal-vnf',
  steps: ['diagnose', 'snapshot before', 'restart', 'well after the restart'],
  vnfd: demoVnfd({ automation: { beforeHeal: true } }),
  start: (vnfm, { vnf }) => vnfm.lcm.healVnf({ vnfInstanceId: vnf, action: HealAction.RESTART }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.true(done);
    t.is(rig.world.snapshots.size, 4, 'one snapshot before it, not two');
    const { occurrences } = await vnfm.operations.listLifecycleOperationOccurrences({});
    t.is(occurrences.filter(({ isAutomaticInvocation }) => isAutomaticInvocation).length, 3);
  },
};

/** The guests of the VNFs that are not the prepared one. */
function others(rig: CrashRig, { vnf }: Ready) {
  return [...rig.world.guests.values()].filter(({ computeId }) => !computeId.startsWith(vnf));
}

/** Not killed right after the grant: the answer with the operation's id may not be out by then. */
const instantiate: Job = {
  procedure: 'instantiate-vnf',
  steps: ['network internal', 'volume gateway-0/data', ...both('compute'), 'start database-0'],
  prepared: ['network internal', 'volume gateway-0/data', ...both('compute'), 'start database-0'],
  start: async (vnfm) => {
    const { vnfInstance } = await vnfm.lcm.createVnfIdentifier({ vnfd: demoVnfd() });
    return vnfm.lcm.instantiateVnf({ vnfInstanceId: vnfInstance!.id });
  },
  check: async (t, rig, _vnfm, ready, done) => {
    t.is(others(rig, ready).length, done ? 2 : 0, 'a whole VNF or none');
    t.is(rig.world.volumes.size, done ? 4 : 2);
    t.is(rig.world.networks.size, done ? 2 : 1);
  },
};

const terminate: Job = {
  procedure: 'terminate-vnf',
  steps: ['stop gateway-0', 'end gateway-0', 'stop database-0', 'end database-0'],
  start: async (vnfm) => vnfm.lcm.terminateVnf({ vnfInstanceId: await instantiated(vnfm) }),
  check: async (t, rig, _vnfm, ready, done) => {
    t.true(done, 'what is being ended is ended');
    t.is(others(rig, ready).length, 0);
    t.is(rig.world.volumes.size, 2);
    t.is(rig.world.networks.size, 1);
  },
};

const operate: Job = {
  procedure: 'operate-vnf',
  steps: [...both('stop')],
  start: async (vnfm) => {
    const vnfInstanceId = await instantiated(vnfm);
    return vnfm.lcm.operateVnf({ vnfInstanceId, changeStateTo: VnfState.STOPPED });
  },
  check: async (t, rig, _vnfm, ready, done) => {
    t.true(done);
    for (const guest of others(rig, ready)) {
      t.is(guest.state, ComputeState.STOPPED);
      // The common check wants all to run.
      guest.state = ComputeState.RUNNING;
    }
  },
};

const deleteSnapshot: Job = {
  procedure: 'delete-vnf-snapshot',
  steps: [...both('delete')],
  start: (vnfm, { snapshot }) => vnfm.lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId: snapshot }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.true(done);
    t.is(rig.world.snapshots.size, 0);
    t.is((await vnfm.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos.length, 0);
  },
};

const deletePackage: Job = {
  procedure: 'delete-vnf-snapshot-package',
  steps: ['delete'],
  start: (vnfm, { pkg }) => vnfm.packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId: pkg }),
  check: async (t, rig, vnfm, _ready, done) => {
    t.true(done);
    t.is(rig.repository.packages.size, 0);
    const { vnfSnapshotPkgInfos } = await vnfm.packages.queryVnfSnapshotPackageInfo({});
    t.is(vnfSnapshotPkgInfos.length, 0);
  },
};

/** A VNF at numbers 11 and 12 with a snapshot and a package of it at 1 and 2. */
async function prepare(t: ExecutionContext, rig: CrashRig, vnfm: RunningVnfm, vnfd?: Job['vnfd']) {
  const vnf = await instantiated(vnfm, vnfd);
  const told = await watchAsVnf(t, vnfm, vnf);
  setMemory(rig, vnf, 0);
  const taken = await vnfm.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(vnfm, taken.lifecycleOperationOccurrenceId);
  const snapshot = taken.vnfSnapshotInfoId;
  const packed = await vnfm.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId: snapshot });
  await completed(vnfm, packed.lifecycleOperationOccurrenceId);
  setMemory(rig, vnf, 10);
  told.heard.length = 0;
  return { vnf, snapshot, pkg: packed.vnfSnapshotPkgId, told };
}

function setMemory(rig: CrashRig, vnf: string, base: number): void {
  rig.world.guest(`${vnf}.gateway-0`).memory = base + 1;
  rig.world.guest(`${vnf}.database-0`).memory = base + 2;
}

function nameOf(job: Job): string {
  if (job === createPowered) return `${job.procedure}, powered off and on,`;
  if (job === createDetaching || job === revertDetaching) return `${job.procedure}, detaching,`;
  return job === createReplacing ? `${job.procedure}, replacing one,` : job.procedure;
}

const kill = test.macro({
  title: (_given, job: Job, step: string) =>
    `VNFM: kill -9 in ${nameOf(job)} right after the effect of "${step}" leaves all or nothing`,
  exec: async (t, job: Job, step: string) => {
    const rig = await crashRig(t);
    // The preparation takes a snapshot and packs it, and that goes well.
    const prepared = job.prepared ?? (/^create-/.test(job.procedure) ? job.steps : []);
    const spared = prepared.includes(step) ? '1*off->' : '';
    const doomed = await rig.start(`vnfm.${job.procedure}.${step}.done=${spared}1*kill`);
    const { told: before, ...ready } = await prepare(t, rig, doomed, job.vnfd);
    const started = await job.start(doomed, ready);
    t.is(await doomed.ended, 'SIGKILL');

    const vnfm = await rig.start();
    const after = await watchAsVnf(t, vnfm, ready.vnf);
    const { operationState, error } = await finished(vnfm, started.lifecycleOperationOccurrenceId);
    const done = operationState === OperationState.COMPLETED;
    if (!done) t.is(operationState, OperationState.ROLLED_BACK, error?.detail);
    await job.check(t, rig, vnfm, ready, done);
    t.true(rig.world.allFree, 'nothing is held or frozen');
    for (const guest of rig.world.guests.values()) t.is(guest.state, ComputeState.RUNNING);

    const starts = before.heard.filter((notification) => isStart(notification.type));
    if (starts.length > 0) {
      await eventually('the VNF hears of the end', () =>
        [...before.heard, ...after.heard].some((notification) => !isStart(notification.type)),
      );
    }
    const again = await vnfm.lcm.createVnfSnapshot({ vnfInstanceId: ready.vnf });
    await completed(vnfm, again.lifecycleOperationOccurrenceId);
    // An invariant that does not hold has ended the test before.
    noteKill(`in memory ${job.procedure}`, invariantsOfAKill, 0);
  },
});

/** The end of the operation, what it left, nothing held, all running, the VNF told, the VNF free. */
const invariantsOfAKill = 6;

function isStart(type: NotificationType): boolean {
  const { SNAPSHOT_CREATION_START, SNAPSHOT_REVERSION_START } = NotificationType;
  return type === SNAPSHOT_CREATION_START || type === SNAPSHOT_REVERSION_START;
}

const jobs = [
  ...[create, createPowered, createDetaching, createReplacing, revert, revertDetaching],
  ...[createPackage, extract, heal],
  ...[instantiate, terminate, operate, deleteSnapshot, deletePackage],
];

for (const job of jobs) {
  for (const step of job.steps) test.serial(kill, job, step);
}
