import test from 'ava';
import {
  type LifecycleOperationOccurrence,
  OperationState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { tools } from '../../integration/drivers/qemu/lab.ts';
import { skipUnless } from '../../support/require-tool.ts';
import {
  findPoints,
  killAtEach,
  type Point,
  type Witness,
} from '../../support/system/kill-chain.ts';
import { makeBase, procedures } from '../../support/system/procedures.ts';
import {
  channelsOf,
  freezeMarginMs,
  inGuests,
  runningVnf,
  slackMs,
  untilAllCount,
} from '../../support/system/qemu-rig.ts';
import type { SystemRig } from '../../support/system/system-rig.ts';

/** About three minutes on two processors, and what a busy machine may add. */
const runMsMax = 25 * 60_000;
/** `NFV_KILL_POINTS=all` leaves nothing out. */
const isThorough = process.env.NFV_KILL_POINTS === 'all';
const revertName = 'revert-to-vnf-snapshot';
const wanted = procedures.filter(({ name }) =>
  /^(create|extract|revert)-|^create-vnf-snapshot-package$/.test(name),
);
/** A busy machine takes its time for a whole snapshot. */
const holdMs = 20_000;
/** Here nobody is there until every guest counts on: the swap waits longest. */
const unattended = new Set(['qemu.hold.armed', 'qemu.revert.paused']);
const unattendedMs = 32_000 + freezeMarginMs + slackMs;

/** What a point stands for: the end of a kind of step, or a code point of driver and VIM. */
function kindOf({ failpoint }: Point): string | undefined {
  if (/^(qemu|vim)\.(?!tidy)/.test(failpoint)) return failpoint;
  const step = /^vnfm\.[^.]+\.(.*)\.done$/.exec(failpoint)?.[1];
  return step?.replace(/ .*/, '');
}

/** The first point of each kind: every code point, and every second kind of step. */
function sample(points: readonly Point[]): Point[] {
  const seen = new Set<string>();
  let steps = 0;
  return points.filter((point) => {
    const kind = kindOf(point);
    if (!kind || (!isThorough && seen.has(kind))) return false;
    seen.add(kind);
    const isCodePoint = /^(qemu|vim)\./.test(kind);
    return isThorough || isCodePoint || steps++ % 2 === 0;
  });
}

/** As `ls` orders them. */
const marks = ['/data/later', '/run/later'];

/** Guests that never boot again, and memory and disks that are wholly at one point in time. */
async function witnessOf(rig: SystemRig): Promise<Witness> {
  const generations = async () =>
    Object.values(await rig.agent.states())
      .map(({ role, generation }) => `${role} ${generation}`)
      .sort();
  const first = await generations();
  let channels: string[] = [];
  return {
    before: async ({ procedure }) => {
      channels = await channelsOf(rig);
      // In memory and on a disk, later than the snapshot.
      if (procedure.name === revertName) await inGuests(rig, `touch ${marks.join(' ')}; sync`);
    },
    dead: async ({ failpoint }) => {
      if (unattended.has(failpoint)) await untilAllCount(channels, unattendedMs);
      return [];
    },
    end: (id) => rig.rolledBackOrDone(id),
    ended: async ({ procedure }, occurrence) => {
      const now = await generations();
      const booted = now.join() === first.join() ? [] : [`a guest booted again: ${now}`];
      return procedure.name === revertName
        ? [...booted, ...(await timeOf(rig, occurrence))]
        : booted;
    },
  };
}

async function timeOf(
  rig: SystemRig,
  { operationState }: LifecycleOperationOccurrence,
): Promise<string[]> {
  const isAtSnapshot = operationState === OperationState.COMPLETED;
  const expected = isAtSnapshot ? '' : marks.join(' ');
  const found = await inGuests(rig, `ls ${marks.join(' ')} 2>/dev/null | xargs`);
  return found
    .filter((present) => present !== expected)
    .map((present) => `a guest has "${present}" where "${expected}" must be`);
}

test.serial(
  'system: kill -9 at every kind of step over real guests leaves all or nothing',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    t.timeout(runMsMax);
    const rig = await runningVnf(t, holdMs);
    const base = await makeBase(rig);
    await rig.kill();
    await rig.start();
    const found = await findPoints(rig, base, wanted);
    const points = sample(found);
    t.log(`${points.length} of ${found.length}: ${points.map(({ failpoint }) => failpoint)}`);
    t.deepEqual(await killAtEach(rig, base, points, await witnessOf(rig)), []);
  },
);
