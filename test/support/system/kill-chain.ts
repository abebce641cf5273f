import { randomUUID } from 'node:crypto';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  type OperationStep,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { RpcError } from '../../../sdk/errors.ts';
import { noteKill } from '../kill-figures.ts';
import { listed, problems } from './checker.ts';
import {
  afterwards,
  atFirst,
  type Base,
  type Expected,
  type ProcedureUnderTest,
  procedures,
} from './procedures.ts';
import type { SystemRig } from './system-rig.ts';

/** Where a process dies: at the n-th hit of a failpoint in a procedure. */
export type Point = {
  procedure: ProcedureUnderTest;
  failpoint: string;
  hit: number;
  /** A failpoint that fails first, so that the procedure is undone. */
  failing?: string;
};

/** What a test looks at around each kill, beside the judge of the whole system. */
export type Witness = {
  /** Before the operation begins in which the site dies. */
  before?(point: Point): Promise<void>;
  /** The site is dead. Returns what is wrong, in words. */
  dead?(point: Point): Promise<string[]>;
  /** How the operation is followed to its end; default: it must end by itself. */
  end?(id: string): Promise<LifecycleOperationOccurrence>;
  /** The operation has ended, and the system is judged. Returns what is wrong, in words. */
  ended?(point: Point, occurrence: LifecycleOperationOccurrence): Promise<string[]>;
};

/**
 * What `judge` looks at: the operation ends, is not forgotten, and is over; snapshots, packages,
 * archives and guests are what they should be; nothing is left over.
 */
const invariantsOfAKill = 8;
/** After so many kills the main job is done once from end to end. */
const wholeJobEvery = 12;
/** Points of a name beyond this many are like those before. */
const hitsMax = 3;
/**
 * Names that say nothing about where a procedure is: each has one of the procedure's own beside it.
 */
const unspecific = /^(operations|records)\./;

const settingOf = ({ failpoint, hit, failing }: Point) =>
  `${failpoint}=${hit - 1}*off->1*kill${failing ? `;${failing}=error(planted)` : ''}`;
const nameOf = ({ procedure, failpoint, hit, failing }: Point) =>
  `kill -9 in ${procedure.name} at ${failpoint}, hit ${hit}${failing ? ` after ${failing}` : ''}`;

/** Runs each procedure once and takes down where it can die. */
export async function findPoints(
  rig: SystemRig,
  base: Base,
  wanted: readonly ProcedureUnderTest[] = procedures,
): Promise<Point[]> {
  const lists: Point[][] = [];
  for (const procedure of wanted) {
    const before = (await rig.hits()).length;
    const { lifecycleOperationOccurrenceId: id } = await procedure.begin(rig, base, randomUUID());
    const occurrence = await rig.ended(id);
    const { operationState, steps } = occurrence;
    if (operationState !== OperationState.COMPLETED) throw new Error(`${procedure.name} failed`);
    const counts = new Map<string, number>();
    const points: Point[] = [];
    for (const failpoint of (await rig.hits()).slice(before)) {
      const hit = (counts.get(failpoint) ?? 0) + 1;
      counts.set(failpoint, hit);
      if (!unspecific.test(failpoint) && hit <= hitsMax) points.push({ procedure, failpoint, hit });
    }
    requireEachStep(procedure.name, steps, points);
    lists.push(points);
    await procedure.use?.run(rig, occurrence);
    await tidy(rig, base);
  }
  return interleave(lists);
}

/** A step at whose begin and end nobody could be killed would be one that no test looks at. */
function requireEachStep(
  procedure: string,
  steps: readonly OperationStep[],
  points: readonly Point[],
): void {
  const known = new Set(points.map(({ failpoint }) => failpoint));
  const missing = steps
    .flatMap(({ name }) => [`vnfm.${procedure}.${name}`, `vnfm.${procedure}.${name}.done`])
    .filter((name) => !known.has(name));
  if (steps.length > 0 && missing.length === 0) return;
  throw new Error(`${procedure} has ${steps.length} steps; without a point: ${missing.join(', ')}`);
}

/**
 * One of each list in turn: the recovery of one procedure does not hit the failpoints of the next.
 */
function interleave<T>(lists: T[][]): T[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }).flatMap((_, index) =>
    lists.flatMap((list) => list.slice(index, index + 1)),
  );
}

/** Takes away what was added, through the interface. */
async function tidy(rig: SystemRig, base: Base): Promise<void> {
  const first = atFirst(base);
  const present = await listed(rig);
  const isOver = (kind: keyof Expected) => (id: string) => !first[kind].includes(id);
  for (const id of present.snapshots.filter(isOver('snapshots'))) await rig.deleteSnapshot(id);
  for (const id of present.packages.filter(isOver('packages'))) await rig.deletePackage(id);
  for (const name of present.archives.filter(isOver('archives'))) await rig.deleteArchive(name);
}

/** Starts an operation in a process that dies in it; the answer may be lost. */
async function beginAndDie(rig: SystemRig, base: Base, point: Point, requestId: string) {
  let known: string | undefined;
  try {
    const answer = await point.procedure.begin(rig, base, requestId);
    known = answer.lifecycleOperationOccurrenceId;
  } catch (error) {
    if (RpcError.from(error).reason !== 'UNAVAILABLE') throw error;
  }
  await rig.died().catch((cause: Error) => {
    throw new Error(`${nameOf(point)}: ${cause.message}`, { cause });
  });
  return known;
}

/** Judges the system after a kill, and leaves it as it was at first. */
async function judge(
  rig: SystemRig,
  base: Base,
  point: Point,
  requestId: string,
  known: string | undefined,
  witness: Witness,
): Promise<string[]> {
  const { procedure } = point;
  const { lifecycleOperationOccurrenceId: id } = await procedure.begin(rig, base, requestId);
  const occurrence = await (witness.end?.(id) ?? rig.ended(id));
  const completed = occurrence.operationState === OperationState.COMPLETED;
  const present = completed
    ? afterwards(base, procedure.added(base, occurrence))
    : afterwards(base, procedure.undone?.(rig, requestId) ?? {});
  if (completed) await procedure.use?.run(rig, occurrence);
  const found = await problems(rig, present);
  found.push(...((await witness.ended?.(point, occurrence)) ?? []));
  await tidy(rig, base);
  if (known !== undefined && known !== id) found.push('the operation was forgotten');
  const how = `${OperationState[occurrence.operationState]} ${occurrence.error?.detail ?? ''}`;
  return found.map((text) => `${nameOf(point)}, ended as ${how}: ${text}`);
}

/** The main job, from end to end. */
async function wholeJob(rig: SystemRig, base: Base): Promise<void> {
  const taken = await rig.createSnapshot();
  await rig.completed(taken.lifecycleOperationOccurrenceId);
  const packed = await rig.createPackage(taken.vnfSnapshotInfoId);
  await rig.completed(packed.lifecycleOperationOccurrenceId);
  const extracted = await rig.extractPackage(packed.vnfSnapshotPkgId);
  await rig.completed(extracted.lifecycleOperationOccurrenceId);
  const reverted = await rig.revert(extracted.vnfSnapshotInfoId);
  await rig.completed(reverted.lifecycleOperationOccurrenceId);
  // It was captured powered off, and so it comes back.
  if ((await rig.vnf()).instantiatedVnfInfo?.vnfState === VnfState.STOPPED) {
    await rig.completed((await rig.powerOn()).lifecycleOperationOccurrenceId);
  }
  await tidy(rig, base);
}

/**
 * The recovery and the judgement of one procedure do not come by the failpoints of another that
 * they do not use, so the next kill can be set up with its start.
 */
function canArm({ procedure }: Point, next: Point | undefined): next is Point {
  if (!next || !/^vnfm\./.test(next.failpoint)) return false;
  return next.procedure !== procedure && next.procedure.name !== procedure.use?.by;
}

/**
 * Kills a site at a point, starts it again so that it will die at `next`, and judges it: what is
 * wrong, in words.
 */
export async function killAt(
  rig: SystemRig,
  base: Base,
  point: Point,
  next?: Point,
  witness: Witness = {},
): Promise<string[]> {
  const requestId = randomUUID();
  await witness.before?.(point);
  const known = await beginAndDie(rig, base, point, requestId);
  const found = (await witness.dead?.(point)) ?? [];
  await rig.start(next ? settingOf(next) : '');
  found.push(...(await judge(rig, base, point, requestId, known, witness)));
  noteKill(`${rig.driver} ${point.procedure.name}`, invariantsOfAKill, found.length);
  return found;
}

/** Starts the site anew so that it will die at a point. */
export async function arm(rig: SystemRig, point: Point): Promise<void> {
  await rig.kill();
  await rig.start(settingOf(point));
}

/**
 * Kills one site at many points, one after the other, judges it after each, and does the main job
 * between. Returns what was wrong, in words; ends at the first fault, because what follows it may
 * be its consequence.
 */
export async function killAtEach(
  rig: SystemRig,
  base: Base,
  points: readonly Point[],
  witness: Witness = {},
): Promise<string[]> {
  let armed: Point | undefined;
  for (const [index, point] of points.entries()) {
    if (armed !== point) await arm(rig, point);
    const wholeJobNow = index % wholeJobEvery === wholeJobEvery - 1;
    const next = points[index + 1];
    armed = !wholeJobNow && canArm(point, next) ? next : undefined;
    const found = await killAt(rig, base, point, armed, witness);
    if (found.length > 0) return found;
    if (wholeJobNow) await wholeJob(rig, base);
  }
  await rig.kill();
  await rig.start();
  await wholeJob(rig, base);
  return problems(rig, atFirst(base));
}
