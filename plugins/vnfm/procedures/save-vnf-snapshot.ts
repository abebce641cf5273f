import { clone, create } from '@bufbuild/protobuf';
import { timestampFromDate, timestampMs } from '@bufbuild/protobuf/wkt';
import { ConsistencyLevel } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  ConsistencyRecordSchema,
  VnfInstanceSchema,
  type VnfSnapshot,
  VnfSnapshotSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { aborted } from '../../../sdk/errors.ts';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import { placesOf } from '../capture-report.ts';
import { consistencyOf, isCommonHold, type VnfcObservation } from '../consistency.ts';
import type { SnapshotPlan, VnfcSnapshotPlan } from '../plan/snapshot-plan.ts';
import { changeRecord, requireRecord, unknownVnf, vnfInstances, vnfSnapshots } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import {
  captured,
  quiesceName,
  releaseName,
  unquiesceName,
  vnfcSnapshotOf,
} from './create-vnfc-snapshot.ts';
import { stepRecord } from './define.ts';
import { wordOf } from './notify.ts';
import { operationalInformation, wantsInformation } from './operational-information.ts';
import { type Held, holdName, type LetGo, wasSkipped } from './phases.ts';
import type { ReplacedSnapshot } from './replace-vnf-snapshot.ts';

/** What the operation is journaled with: all that was decided when it was accepted. */
export type CreateVnfSnapshotInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  vnfSnapshotInfoId: string;
  /** The snapshot resource was made by this request, so it goes when the operation is undone. */
  madeInfo: boolean;
  name: string;
  userDefinedData: { [key: string]: string };
  plan: SnapshotPlan;
  /** The number of a SnapshotPurpose. */
  purpose: number;
  /** The snapshot that goes when this one is whole. */
  replaced?: ReplacedSnapshot;
};

type Context = StepContext<CreateVnfSnapshotInput>;

/**
 * 6.5.1 step 9 (and 6.4.1 step 25 of each VNFC): the VNF snapshot with its VNFD, its VnfInfo and
 * its consistency record. ABORTED with reason CONSISTENCY_NOT_REACHED when it was required and is
 * not there.
 */
export function saveSnapshot(vnfm: Vnfm): Step<CreateVnfSnapshotInput> {
  return {
    name: 'save',
    clause: '6.5.1',
    clauseStep: '9',
    caller: 'vnfm',
    callee: 'vnfm',
    run: async (context) => {
      const snapshot = await assemble(vnfm, context);
      checkConsistency(snapshot, context);
      const { level, skew } = snapshot.consistency!;
      const skewMs = Number(skew?.seconds ?? 0n) * 1000 + (skew?.nanos ?? 0) / 1e6;
      context.note(`${ConsistencyLevel[level]}, skew ${skewMs} ms`);
      context.result('vnfSnapshotInfoId', context.input.vnfSnapshotInfoId);
      reportPlaces(context);
      context.withEnd((tx) =>
        changeRecord(tx, vnfSnapshots, context.input.vnfSnapshotInfoId, (info) => {
          info.vnfSnapshot = snapshot;
        }),
      );
    },
  };
}

/** TR 32.842, VNF snapshot capture, steps 6 and 7: the VIM and the file paths, for whoever asked. */
function reportPlaces(context: Context): void {
  const { plan, vim } = context.input;
  for (const { vnfcInstanceId } of plan.vnfcs) {
    const content = captured(context, vnfcInstanceId);
    for (const [key, value] of placesOf(vnfcInstanceId, vim, content)) context.result(key, value);
  }
}

async function assemble(vnfm: Vnfm, context: Context): Promise<VnfSnapshot> {
  const { input } = context;
  const { value: vnf } = await requireRecord(
    vnfm.store,
    vnfInstances,
    input.vnfInstanceId,
    unknownVnf,
  );
  // The descriptor is in the snapshot once, and the operation that is going on is no property of
  // the VNF.
  const vnfInstance = clone(VnfInstanceSchema, vnf);
  delete vnfInstance.vnfd;
  vnfInstance.operationInProgress = '';
  const started = stepRecord(context, 'check')?.startTime;
  return create(VnfSnapshotSchema, {
    id: input.vnfSnapshotInfoId,
    vnfInstanceId: input.vnfInstanceId,
    ...(started && { creationStartedAt: started }),
    creationFinishedAt: timestampFromDate(vnfm.clock.now()),
    vnfdId: vnf.vnfdId,
    ...(vnf.vnfd && { vnfd: vnf.vnfd }),
    vnfInstance,
    vnfcSnapshots: input.plan.vnfcs.map((vnfc) => part(vnfc, context)),
    excluded: input.plan.excluded,
    consistency: create(ConsistencyRecordSchema, consistency(context)),
    name: input.name,
    userDefinedData: input.userDefinedData,
    purpose: input.purpose,
    ...(wantsInformation(input.purpose) && {
      operationalInformation: await operationalInformation(vnfm, context),
    }),
  });
}

function part(vnfc: VnfcSnapshotPlan, context: Context) {
  const content = captured(context, vnfc.vnfcInstanceId);
  const info = vnfcSnapshotOf(vnfc, content, context.input.vim);
  if (content.captureTime) info.creationStartedAt = content.captureTime;
  if (content.completeTime) info.creationFinishedAt = content.completeTime;
  return info;
}

function consistency(context: Context) {
  const vnfcs = context.input.plan.vnfcs.map((vnfc) => observe(vnfc, context));
  const lastCaptureMs = Math.max(...vnfcs.map((vnfc) => vnfc.captureEndMs));
  const word = wordOf(context, lastCaptureMs);
  return consistencyOf({ vnfcs, vnfConfirmed: word.confirmed, unconfirmedReason: word.reason });
}

/** What the steps saw of one component. */
function observe(vnfc: VnfcSnapshotPlan, context: Context): VnfcObservation {
  const { vnfcInstanceId } = vnfc;
  const content = captured(context, vnfcInstanceId);
  const freeze = context.outputIfDone<Held>(quiesceName(vnfcInstanceId));
  const hold = context.outputIfDone<Held>(holdName(vnfcInstanceId));
  const released = context.outputIfDone<LetGo>(releaseName(vnfcInstanceId));
  const thawed = context.outputIfDone<LetGo>(unquiesceName(vnfcInstanceId));
  const silent = wasSkipped(context, quiesceName(vnfcInstanceId));
  const note = stepRecord(context, quiesceName(vnfcInstanceId))?.note ?? '';
  return {
    vnfcInstanceId,
    running: vnfc.running,
    ...(freeze && { freeze }),
    noFreezeReason: silent ? note : vnfc.noFreezeReason,
    freezeFailed: vnfc.freeze,
    ...(hold && { hold }),
    captureMs: content.captureTime ? timestampMs(content.captureTime) : 0,
    captureEndMs: content.completeTime ? timestampMs(content.completeTime) : 0,
    frozenWhenCaptured: content.quiesced,
    ...(released && { releaseMs: released.atMs }),
    ...(thawed && { thawMs: thawed.atMs }),
  };
}

function checkConsistency({ consistency }: VnfSnapshot, context: Context): void {
  const { plan } = context.input;
  if (plan.consistency === 'none') return;
  const observations = plan.vnfcs.map((vnfc) => observe(vnfc, context));
  const weak = consistency?.vnfc.find((vnfc) => vnfc.level < ConsistencyLevel.VNF_CONFIRMED);
  const broken = !isCommonHold(observations);
  if (!broken && (plan.consistency === 'preferred' || !weak)) return;
  const reason = weak?.reason ?? 'the components were not held together';
  const text = `the consistency that was asked for was not reached: ${weak?.vnfcInstanceId ?? 'VNF'}: ${reason}`;
  throw aborted('CONSISTENCY_NOT_REACHED', text);
}
