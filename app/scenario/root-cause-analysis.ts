import { create } from '@bufbuild/protobuf';
import {
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotPurpose, type VnfSnapshot } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { SnapshotAutomationSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { inject } from './failure.ts';
import type { UseCase } from './scenario.ts';
import { Informed, readSnapshot, store, untilTraffic } from './work.ts';

const captureMsMax = 90_000;

/** The VNFM captures by itself what has failed: clause 4.2.1. */
export const rootCauseAnalysis: UseCase = {
  name: 'root-cause-analysis',
  clause: '4.2.1',
  description:
    'a component crashes: the VNFM takes a snapshot by itself, adds what it knows, and informs the EM',
  run: async ({ site, lab, options, tell }) => {
    const { driver } = options;
    const vnf = await lab.instantiate(driver, false, (vnfd) => {
      const automation = create(SnapshotAutomationSchema, { onFault: true });
      Object.assign(vnfd.snapshotDescriptor!, { automation });
    });
    const agent = await lab.agent(vnf);
    agent.reportHealth();
    await untilTraffic(agent, 10);
    const em = await Informed.start(site, 'em');
    try {
      await inject({ site, driver, vnf: await lab.vnf(vnf.id), vduId: 'database' }, 'crash');
      const told = await em.end(OperationType.CREATE_SNAPSHOT, captureMsMax);
      const failures: string[] = [];
      if (!told.isAutomaticInvocation)
        failures.push('the snapshot was not taken by the VNFM itself');
      if (told.operationState !== OperationState.COMPLETED) {
        tell('5', `the EM is informed of the failure: ${told.error?.detail}`);
        return { failures: [...failures, 'no snapshot was taken'], snapshots: [], packages: [] };
      }
      await lab.follow(told.id);
      const snapshot = await readSnapshot(lab, told.vnfSnapshotInfoId);
      const parts = snapshot.vnfcSnapshots.map((part) => part.vnfcInstanceId);
      tell('1', `the VNFM asks the VIM for snapshots of ${parts.join(' and ')}`);
      tell('2', 'the VIM has made and kept them');
      tell('3', `they are ${instanceSnapshots(snapshot).join(' and ')}`);
      const {
        operations = [],
        vnfIndicators = [],
        computes = [],
      } = snapshot.operationalInformation ?? {};
      const health = vnfIndicators.find(({ id }) => id === 'health');
      tell(
        '4',
        `added: ${operations.length} operations, health "${health?.value}", ${computes.length} components`,
      );
      tell('5', `the EM is informed: operation ${told.id} completed, snapshot ${snapshot.id}`);
      failures.push(...missing(snapshot));
      const packageId = await store(lab, snapshot.id, 'root cause analysis');
      return { failures, snapshots: [snapshot.id], packages: [packageId] };
    } finally {
      await em.stop();
    }
  },
};

function instanceSnapshots({ vnfcSnapshots }: VnfSnapshot): string[] {
  return vnfcSnapshots.map(({ instanceSnapshot }) => instanceSnapshot?.snapshotId ?? '?');
}

/** What should be in the snapshot and is not. */
function missing(snapshot: VnfSnapshot): string[] {
  const { purpose, operationalInformation: known } = snapshot;
  const failures: string[] = [];
  if (purpose !== SnapshotPurpose.POST_MORTEM) failures.push('its purpose is not POST_MORTEM');
  if (!known?.operations.some(({ operation }) => operation === OperationType.INSTANTIATE)) {
    failures.push('the operations of the VNF are not in it');
  }
  const health = known?.vnfIndicators.find(({ id }) => id === 'health');
  if (health === undefined || health.value === 'ok') failures.push('the ill health is not in it');
  if (!known?.computes.some(({ stateReason }) => stateReason !== '')) {
    failures.push('what the VIM said of the fault is not in it');
  }
  return failures;
}
