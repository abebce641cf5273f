import { create } from '@bufbuild/protobuf';
import {
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { HealAction } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { SnapshotAutomationSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { aborted } from '../../sdk/errors.ts';
import { components, describe, faultOf } from '../demo/invariant.ts';
import type { UseCase } from './scenario.ts';
import { Informed, readSnapshot, untilTraffic } from './work.ts';

const endMsMax = 180_000;

/** A snapshot before a risky procedure, and back to it when the procedure fails: clause 4.3.1. */
export const lifecycleProcedure: UseCase = {
  name: 'lifecycle-procedure',
  clause: '4.3.1',
  description:
    'a restart that loses what is in memory: the VNFM took a snapshot before and falls back by itself',
  run: async ({ site, lab, options, tell }) => {
    const vnf = await lab.instantiate(options.driver, false, (vnfd) => {
      const recoveryTimeout = { seconds: 8n, nanos: 0 };
      const automation = create(SnapshotAutomationSchema, { beforeHeal: true, recoveryTimeout });
      Object.assign(vnfd.snapshotDescriptor!, { automation });
    });
    const agent = await lab.agent(vnf);
    agent.reportHealth();
    await untilTraffic(agent, 20);
    const before = components(await agent.states()).gateway.counter;
    const consumers = [await Informed.start(site, 'em'), await Informed.start(site, 'nfvo')];
    try {
      const started = await lab.lcm.healVnf({
        ...{ vnfInstanceId: vnf.id, vnfcInstanceIds: ['gateway-0'] },
        ...{ cause: 'preventive restart', action: HealAction.RESTART },
      });
      await lab.follow(started.lifecycleOperationOccurrenceId).catch((error) => {
        // That it does not complete is what this is about; the end is looked at below.
        if (error.code !== aborted('', '').code) throw error;
      });
      const [em, nfvo] = await Promise.all(
        consumers.map((consumer) => consumer.end(OperationType.HEAL, endMsMax)),
      );
      const snapshot = await readSnapshot(lab, em!.result.vnfSnapshotInfoId ?? '');
      tell('1', `the VNFM asks for snapshots of ${snapshot.vnfcSnapshots.length} components`);
      tell('2', 'the VIM has made and kept them');
      tell('3', snapshot.vnfcSnapshots.map((part) => part.instanceSnapshot?.snapshotId).join(', '));
      const { operations = [] } = snapshot.operationalInformation ?? {};
      tell(
        '4',
        `VnfInfo of ${snapshot.vnfInstance?.id} and ${operations.length} operations are in it`,
      );
      tell(
        '5',
        `EM and NFVO are informed: ${OperationState[em!.operationState]}, ${em!.error?.detail}`,
      );
      await untilTraffic(agent, 5);
      const states = await agent.states();
      options.print(`\nafter the fall-back: ${describe(states)}`);
      const failures: string[] = [];
      if (em!.operationState !== OperationState.ROLLED_BACK)
        failures.push('nothing was rolled back');
      if (nfvo?.operationState !== em!.operationState) failures.push('the NFVO was told otherwise');
      if (components(states).gateway.counter < before) failures.push('what was in memory is lost');
      const fault = faultOf(states);
      if (fault !== undefined) failures.push(fault);
      return { failures, snapshots: [snapshot.id], packages: [] };
    } finally {
      for (const consumer of consumers) await consumer.stop();
    }
  },
};
