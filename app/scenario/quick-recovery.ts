import { NsLcmService } from '../../gen/nfv/ns_lcm/v1/ns_lcm_service_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotPurpose } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { broken, components, describe, faultOf } from '../demo/invariant.ts';
import type { UseCase } from './scenario.ts';
import { Informed, takeSnapshot, untilTraffic } from './work.ts';

const endMsMax = 180_000;

/** A wrecked VNF is brought back to a snapshot, as the OSS/BSS asks it of the NFVO: clause 4.3.2. */
export const quickRecovery: UseCase = {
  name: 'quick-recovery',
  clause: '4.3.2',
  description: 'a VNF is wrecked and brought back to its snapshot through the NFVO',
  run: async ({ site, lab, options, tell }) => {
    const vnf = await lab.instantiate(options.driver, false);
    const agent = await lab.agent(vnf);
    await untilTraffic(agent, 10);
    const ns = site.client(NsLcmService, 'oss');
    const { nsInstance } = await ns.createNsIdentifier({ vnfInstanceIds: [vnf.id] });
    const snapshot = await takeSnapshot(lab, vnf, 'recovery', SnapshotPurpose.RECOVERY);
    const taken = components(agent.handled.at(-1)!.states).gateway.counter;
    const wrecked = await agent.askAll('wreck');
    options.print(`\nwrecked on purpose: ${describe(wrecked)}`);
    const em = await Informed.start(site, 'em');
    try {
      const reverted = await ns.updateNs({
        nsInstanceId: nsInstance!.id,
        update: {
          case: 'revertToVnfSnapshot',
          value: { vnfInstanceId: vnf.id, vnfSnapshotInfoId: snapshot.id },
        },
      });
      tell('1', `the OSS/BSS asks the NFVO, which asks the VNFM of ${vnf.id}`);
      const { steps } = await lab.follow(reverted.lifecycleOperationOccurrenceId);
      const of = (clauses: readonly string[]) =>
        steps.filter(({ clause }) => clauses.includes(clause));
      tell('2', `the VNFM finds ${snapshot.vnfcSnapshots.length} VNFC snapshots`);
      const asked = of(['6.4.3', '6.4.4']);
      tell('3', `it asks the VIM for ${asked.map(({ name }) => name).join(', ')}`);
      tell('4', 'the VIM has loaded them');
      tell('5', `it has answered each of ${asked.length} calls`);
      const told = await em.end(OperationType.REVERT_TO_SNAPSHOT, endMsMax);
      tell('6', `the EM is informed of operation ${told.id}`);
      await untilTraffic(agent, 5);
      const states = await agent.states();
      options.print(`\nafter the recovery: ${describe(states)}`);
      const failures: string[] = [];
      if (broken(wrecked) === undefined) failures.push('wrecking the VNF broke nothing');
      const { counter } = components(states).gateway;
      if (counter < taken || counter > taken + 10_000)
        failures.push('what was in memory is not back');
      const fault = faultOf(states);
      if (fault !== undefined) failures.push(fault);
      return { failures, snapshots: [snapshot.id], packages: [] };
    } finally {
      await em.stop();
    }
  },
};
