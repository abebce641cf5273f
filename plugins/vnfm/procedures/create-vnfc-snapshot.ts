/**
 * Create VNFC snapshot in direct resource management mode: GR NFV-TST 005 clause 6.4.1, by its step
 * numbers.
 */
import { fromJson, type JsonObject, type JsonValue, toJson } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { VnfcSnapshotInfo } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfcSnapshotInfoSchema } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { dataLoss, internal, isRpcError } from '../../../sdk/errors.ts';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import { withoutPlaces } from '../capture-report.ts';
import { partId } from '../identifiers.ts';
import type { VimClients } from '../peers.ts';
import type { SnapshotPlan, VnfcSnapshotPlan } from '../plan/snapshot-plan.ts';
import { detachedOf } from '../plan/volumes.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf } from './define.ts';
import { checkPromise } from './notify.ts';
import {
  type Held,
  heldOf,
  hold,
  holdName,
  type LetGo,
  letGo,
  letGoRetries,
  quickCallMs,
  release,
  thaw,
  wasSkipped,
} from './phases.ts';
import { attachmentOf } from './volumes.ts';

/** A freeze begins before the hold and ends after it. */
const freezeMarginMs = 30_000;
/** How long a capture may take that no hold limits, in milliseconds. */
const freeCaptureMs = 10 * 60_000;
/** A capture under a hold is given up soon after the hold has ended. */
const captureMarginMs = 10_000;

export const freezeMs = (plan: SnapshotPlan) => plan.holdDeadlineMs + freezeMarginMs;

/** What the steps of one component work with. */
export type VnfcCapture = {
  vnfm: Vnfm;
  vim: VimClients;
  /** The whole that the part belongs to. */
  snapshotId: string;
  name: string;
  plan: SnapshotPlan;
};

export const quiesceName = (vnfc: string) => `quiesce ${vnfc}`;
export const releaseName = (vnfc: string) => `release ${vnfc}`;
export const unquiesceName = (vnfc: string) => `unquiesce ${vnfc}`;
export const captureName = (vnfc: string) => `capture ${vnfc}`;

/** 6.4.1 step 13: freezes the file systems. */
export function quiesceStep<I extends JsonValue>(
  work: VnfcCapture,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  const { computeId, vnfcInstanceId } = vnfc;
  return {
    ...header(quiesceName(vnfcInstanceId), '13', vnfcInstanceId),
    phase: 'prepare',
    hold: true,
    deadlineMs: quickCallMs,
    run: async (context): Promise<Held> => {
      await checkPromise(work.vnfm, context);
      try {
        const { lease, frozenFileSystems } =
          await work.vim.compute.quiesceVirtualisedComputeResource(
            { computeId, deadline: durationFromMs(freezeMs(work.plan)), call: callOf(context) },
            { signal: context.signal, deadlineMs: quickCallMs },
          );
        context.note(
          frozenFileSystems === 1
            ? '1 file system is frozen'
            : `${frozenFileSystems} file systems are frozen`,
        );
        return heldOf(lease);
      } catch (thrown) {
        // Nothing is frozen then: with consistency PREFERRED a lower level is recorded.
        const silent = isRpcError(thrown, 'GUEST_AGENT_SILENT');
        if (!silent || work.plan.consistency === 'required') throw thrown;
        return context.skip(`GUEST_AGENT_SILENT: ${thrown.message}`);
      }
    },
    compensate: async (context) => {
      await thaw(work.vim, vnfc, '', context, 'undo');
    },
  };
}

/** Not in the report: pauses the component, so that all components are captured at one moment. */
export function holdStep<I extends JsonValue>(work: VnfcCapture, vnfc: VnfcSnapshotPlan): Step<I> {
  return {
    ...header(holdName(vnfc.vnfcInstanceId), '', vnfc.vnfcInstanceId),
    phase: 'hold',
    hold: true,
    deadlineMs: quickCallMs,
    run: async (context): Promise<Held> => {
      await checkPromise(work.vnfm, context);
      return hold(work.vim, vnfc, work.plan.holdDeadlineMs, context);
    },
    compensate: (context) => letGo(work.vim, vnfc, context),
  };
}

/** 6.4.1 steps 17 and 21: memory, devices and all selected volumes in one call, at one moment. */
export function captureStep<I extends JsonValue>(
  work: VnfcCapture,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  const { computeId, vnfcInstanceId } = vnfc;
  const { plan, vim } = work;
  const snapshotId = partId(work.snapshotId, vnfcInstanceId);
  const held = vnfc.running && plan.consistency !== 'none';
  const detached = detachedOf(vnfc.disks, vnfc.detach);
  const deadlineMs = held ? plan.holdDeadlineMs + captureMarginMs : freeCaptureMs;
  return {
    ...header(captureName(vnfcInstanceId), '17, 21', vnfcInstanceId),
    phase: 'capture',
    deadlineMs,
    run: async (context): Promise<JsonValue> => {
      const leaseId = held ? context.output<Held>(holdName(vnfcInstanceId)).leaseId : '';
      const { snapshot } = await vim.compute.createVirtualisedComputeResourceSnapshot(
        {
          computeId,
          snapshotId,
          memory: vnfc.memory,
          storageIds: vnfc.disks
            .filter((disk) => !detached.includes(disk))
            .map((disk) => disk.storageId),
          detachedVolumes: detached.map(attachmentOf),
          leaseId,
          memoryTechnique: vnfc.memoryTechnique,
          diskTechnique: vnfc.diskTechnique,
          folder: work.plan.folder ?? '',
          name: work.name,
          metadata: { vnfSnapshotId: work.snapshotId, vnfcInstanceId },
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs },
      );
      if (!snapshot) throw internal('RESPONSE_INCOMPLETE', 'the VIM answered without the snapshot');
      return toJson(InstanceSnapshotSchema, snapshot);
    },
    compensate: async (context) => {
      await vim.compute.deleteVirtualisedComputeResourceSnapshot(
        { snapshotId, call: callOf(context, 'undo') },
        { signal: context.signal, deadlineMs: freeCaptureMs },
      );
    },
  };
}

/** Not in the report: lets the component run on, on every path. */
export function releaseStep<I extends JsonValue>(
  work: VnfcCapture,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  const held = holdName(vnfc.vnfcInstanceId);
  return {
    ...header(releaseName(vnfc.vnfcInstanceId), '', vnfc.vnfcInstanceId),
    phase: 'release',
    always: true,
    releases: [held],
    retryable: letGoRetries,
    run: (context): Promise<LetGo> => {
      const leaseId = context.outputIfDone<Held>(held)?.leaseId ?? '';
      return release(work.vim, vnfc, leaseId, context);
    },
  };
}

/** 6.4.1 step 26: thaws the file systems, on every path. */
export function unquiesceStep<I extends JsonValue>(
  work: VnfcCapture,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  const frozen = quiesceName(vnfc.vnfcInstanceId);
  return {
    ...header(unquiesceName(vnfc.vnfcInstanceId), '26', vnfc.vnfcInstanceId),
    phase: 'resume',
    always: true,
    releases: [frozen],
    retryable: letGoRetries,
    run: async (context): Promise<LetGo> => {
      if (wasSkipped(context, frozen)) context.skip('nothing was frozen');
      const held = context.outputIfDone<Held>(frozen);
      const inTime = await thaw(work.vim, vnfc, held?.leaseId ?? '', context);
      const atMs = work.vnfm.clock.now().getTime();
      if (!inTime) context.warn(`${vnfc.vnfcInstanceId}: the freeze ${endOfFreeze(held, atMs)}`);
      return { atMs };
    },
  };
}

/** A lease that is not known before its time is over went with the guest that it was for. */
function endOfFreeze(held: Held | undefined, nowMs: number): string {
  if (held && nowMs < held.expiresMs) return 'ended early: the component started anew meanwhile';
  return 'ended at its deadline';
}

/** 6.4.1 step 25: the VNFC snapshot is whole. Its record becomes durable with that of the VNF. */
export function saveStep<I extends JsonValue>(vnfc: VnfcSnapshotPlan): Step<I> {
  const { vnfcInstanceId } = vnfc;
  return {
    ...header(`save ${vnfcInstanceId}`, '25', vnfcInstanceId),
    callee: 'vnfm',
    run: async (context) => {
      const { images, memory } = captured(context, vnfcInstanceId);
      const disks = images.filter(({ role }) => role === ImageRole.DISK).map(({ name }) => name);
      const missing = vnfc.disks.find((disk) => !disks.includes(disk.name));
      if (missing) {
        const text = `the snapshot of ${vnfcInstanceId} came without its disk "${missing.name}"`;
        throw dataLoss('SNAPSHOT_INCOMPLETE', text, { disk: missing.name });
      }
      context.note([...(memory ? ['memory'] : []), ...disks].join(', ') || 'nothing is captured');
    },
  };
}

/** The instance snapshot that steps 17 and 21 made. */
export function captured(context: Pick<StepContext, 'output'>, vnfc: string): InstanceSnapshot {
  return fromJson(InstanceSnapshotSchema, context.output<JsonObject>(captureName(vnfc)));
}

/** 6.4.1 step 25: the VNFC snapshot as the VNFM keeps it. */
export function vnfcSnapshotOf(
  vnfc: VnfcSnapshotPlan,
  content: InstanceSnapshot,
  vimConnectionId: string,
): VnfcSnapshotInfo {
  return fromJson(VnfcSnapshotInfoSchema, {
    id: vnfc.vnfcInstanceId,
    vnfcInstanceId: vnfc.vnfcInstanceId,
    vduId: vnfc.vduId,
    vimConnectionId,
    instanceSnapshot: toJson(InstanceSnapshotSchema, withoutPlaces(content)),
    warm: content.memory,
  });
}

function header(name: string, clauseStep: string, vnfcInstanceId: string) {
  const clause = clauseStep === '' ? 'Micromano' : '6.4.1';
  return { name, clause, clauseStep, caller: 'vnfm', callee: 'vim', vnfcInstanceId };
}
