import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import type {
  PlannedFallbackSchema,
  PlannedVnfcSchema,
  SnapshotPlanSchema,
} from '../../../gen/nfv/vnf_lcm/v1/plan_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { diskCapabilities, memoryCapabilities } from './capabilities.ts';
import type { RevertPlan, VnfcRevertPlan } from './revert-plan.ts';
import type { Component, Disk, Situation } from './situation.ts';
import type { SnapshotPlan, VnfcSnapshotPlan } from './snapshot-plan.ts';

type Explained = Omit<MessageInitShape<typeof SnapshotPlanSchema>, '$typeName' | 'steps'>;
type Planned = MessageInitShape<typeof PlannedVnfcSchema>;
type Fallback = MessageInitShape<typeof PlannedFallbackSchema>;

const policies = {
  required: ConsistencyPolicy.REQUIRED,
  preferred: ConsistencyPolicy.PREFERRED,
  none: ConsistencyPolicy.NONE,
};

/** What a creation would do and what is not possible now, for people and programs; pure. */
export function explainSnapshot(
  { components }: Situation,
  plan: SnapshotPlan,
  vnfIsReachable: boolean,
): Explained {
  return {
    vnfcs: plan.vnfcs.map((vnfc) => plannedCapture(vnfc, componentOf(components, vnfc))),
    excluded: plan.excluded,
    consistency: policies[plan.consistency],
    fallbacks: [
      ...(plan.consistency === 'none' || vnfIsReachable ? [] : [silentVnf(plan)]),
      ...plan.vnfcs
        .filter((vnfc) => vnfc.running && !vnfc.freeze)
        .flatMap((vnfc) => notFrozen(plan, vnfc)),
    ],
  };
}

/** What a reversion would do; pure. */
export function explainRevert(
  { components }: Situation,
  plan: RevertPlan,
  vnfIsReachable: boolean,
): Explained {
  return {
    vnfcs: plan.vnfcs.map((vnfc) => plannedRevert(plan, vnfc, componentOf(components, vnfc))),
    excluded: plan.untouched,
    consistency: plan.notify ? ConsistencyPolicy.REQUIRED : ConsistencyPolicy.NONE,
    fallbacks: [
      ...(!plan.notify || vnfIsReachable
        ? []
        : [
            {
              what: 'tell the VNF of the reversion',
              reason: 'it has no notification stream open',
              instead:
                'it is reverted without being told: a dead VNF does not block its own reversion',
              allowed: true,
            },
          ]),
      ...plan.vnfcs.filter(({ safetyNote }) => safetyNote !== '').map(safetyFallback),
    ],
  };
}

function componentOf(
  components: readonly Component[],
  { vnfcInstanceId }: { vnfcInstanceId: string },
) {
  return components.find((component) => component.vnfcInstanceId === vnfcInstanceId)!;
}

function plannedCapture(vnfc: VnfcSnapshotPlan, component: Component): Planned {
  const { vnfcInstanceId, running, memory, disks, freeze } = vnfc;
  return {
    ...{ vnfcInstanceId, running, memory, freeze },
    disks: names(disks),
    detached: names(vnfc.detach),
    attached: names(vnfc.attach),
    techniques: techniques(component, memory, disks.length > 0),
  };
}

function plannedRevert({ hosts }: RevertPlan, vnfc: VnfcRevertPlan, component: Component): Planned {
  const { vnfcInstanceId, running, warm, thaw, images, safety } = vnfc;
  const moved = hosts?.move?.vnfcs.some((item) => item.vnfcInstanceId === vnfcInstanceId);
  return {
    ...{ vnfcInstanceId, running, safety, memory: warm, freeze: thaw, disks: images },
    detached: moved ? [] : names(vnfc.detach),
    attached: moved ? [] : names(vnfc.attach),
    ...(moved && { movedTo: hosts!.move!.host }),
    techniques: techniques(component, warm, images.length > 0),
  };
}

const names = (disks: readonly Disk[]) => disks.map(({ name }) => name);

function techniques({ driver }: Component, memory: boolean, disks: boolean): CapabilityName[] {
  const wanted = [...(memory ? memoryCapabilities : []), ...(disks ? diskCapabilities : [])];
  return wanted.filter((name) => driver.has(name));
}

function silentVnf({ consistency }: SnapshotPlan): Fallback {
  return {
    what: 'ask the VNF to prepare',
    reason: 'it has no notification stream open',
    instead: 'the snapshot is taken without its word, and its level is lower',
    allowed: consistency === 'preferred',
  };
}

function notFrozen({ consistency }: SnapshotPlan, vnfc: VnfcSnapshotPlan): Fallback[] {
  // Nobody asked for it.
  if (consistency === 'none') return [];
  return [
    {
      vnfcInstanceId: vnfc.vnfcInstanceId,
      what: 'freeze its file systems',
      reason: vnfc.noFreezeReason,
      instead: 'it is held while it is captured; what it confirms counts',
      allowed: true,
    },
  ];
}

function safetyFallback({ vnfcInstanceId, safety, safetyNote }: VnfcRevertPlan): Fallback {
  const kept = safety === 'none' ? 'nothing of the present is kept' : 'only its disks are kept';
  return {
    vnfcInstanceId,
    what: 'keep the present state whole',
    reason: safetyNote,
    instead: `${kept} to come back to on failure`,
    allowed: true,
  };
}
