/** What healing does to a VNF, each an operation of its own. */
import { create, type JsonObject } from '@bufbuild/protobuf';
import type { SnapshotPurpose } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  CreateVnfSnapshotRequestSchema,
  OperateVnfRequestSchema,
  RevertToVnfSnapshotRequestSchema,
  StopType,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { StepContext } from '../../../sdk/operations/engine.ts';
import type { Finding } from '../automation/diagnosis.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';

export type HealVnfInput = {
  /** None: the operations that it starts take the VNF, one after the other. */
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  cause: string;
  action: 'decide' | 'restart' | 'revert' | 'snapshot';
  /** Empty: those at fault, or all. */
  vnfcInstanceIds: string[];
  snapshotBefore: boolean;
  mayRevert: boolean;
  recoveryMs: number;
};

type Context = StepContext<HealVnfInput>;

/** A snapshot of all components; a VNF that is not well need not answer. */
export async function takeSnapshot(
  vnfm: Vnfm,
  context: Context,
  purpose: SnapshotPurpose,
  { consistency }: Finding,
): Promise<JsonObject> {
  const { vnfInstanceId, cause } = context.input;
  const { vnfSnapshotInfoId } = await vnfm.own.run(context, 'snapshot', (lcm, requestId, call) =>
    lcm.createVnfSnapshot(
      create(CreateVnfSnapshotRequestSchema, {
        vnfInstanceId,
        name: cause || 'heal',
        purpose,
        consistency: consistency ? ConsistencyPolicy[consistency] : ConsistencyPolicy.UNSPECIFIED,
        userDefinedData: { healOperation: context.operationId },
        requestId,
      }),
      call,
    ),
  );
  context.result('vnfSnapshotInfoId', vnfSnapshotInfoId);
  return { snapshotId: vnfSnapshotInfoId };
}

export async function restart(
  vnfm: Vnfm,
  context: Context,
  vnfcInstanceIds: readonly string[],
): Promise<void> {
  const operate = (what: string, changeStateTo: VnfState) =>
    vnfm.own.run(context, what, (lcm, requestId, call) =>
      lcm.operateVnf(
        create(OperateVnfRequestSchema, {
          vnfInstanceId: context.input.vnfInstanceId,
          vnfcInstanceIds: [...vnfcInstanceIds],
          changeStateTo,
          // What hangs does not shut down; it is given the default time to.
          stopType: StopType.GRACEFUL,
          requestId,
        }),
        call,
      ),
    );
  await operate('stop', VnfState.STOPPED);
  await operate('start', VnfState.STARTED);
}

export async function revertTo(
  vnfm: Vnfm,
  context: Context,
  vnfSnapshotInfoId: string,
): Promise<void> {
  const { vnfInstanceId } = context.input;
  await vnfm.own.run(context, 'revert', (lcm, requestId, call) =>
    lcm.revertToVnfSnapshot(
      create(RevertToVnfSnapshotRequestSchema, { vnfInstanceId, vnfSnapshotInfoId, requestId }),
      call,
    ),
  );
}
