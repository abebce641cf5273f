import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotPurpose } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { inject } from './failure.ts';
import type { Stage, UseCase } from './scenario.ts';
import { describeLevel, ServiceFront, shortfall } from './service-level.ts';
import { startFromPackage, store, takeSnapshot, terminate, untilTraffic } from './work.ts';

/** The component that is tested. */
const vduId = 'gateway';
/** How long the service may take to recover by itself. */
const recoveryMs = 6000;

/** Online testing with an injected failure, as the OSS/BSS does it: clause 4.1.1. */
export const onlineTesting: UseCase = {
  name: 'online-testing',
  clause: '4.1.1',
  description:
    'inject a failure into a service in operation; when it does not recover, start it anew from snapshots',
  run: async (stage) => {
    const { lab, site, options, tell } = stage;
    const { driver, failure } = options;
    const vnf = await lab.instantiate(driver, false);
    const agent = await lab.agent(vnf);
    await untilTraffic(agent, 10);
    const front = new ServiceFront(agent);
    tell('1', `the place to be tested is ${vduId}, the test is: ${failure}`);
    const expected = await front.measure();
    tell('2', `expected after the test: ${describeLevel(expected)}`);
    const before = await takeSnapshot(lab, vnf, 'before the test', SnapshotPurpose.RECOVERY);
    const restorePackage = await store(lab, before.id, 'before the test');
    tell('3', `snapshot ${before.id} is stored as package ${restorePackage}`);
    await inject({ site, driver, vnf: await lab.vnf(vnf.id), vduId }, failure);
    tell('4', `${failure}: done to ${vduId}`);
    await react(stage, vnf.id);
    await new Promise((resolve) => setTimeout(resolve, recoveryMs));
    const actual = await front.measure();
    tell('6', `after ${recoveryMs / 1000} s: ${describeLevel(actual)}`);
    const missing = shortfall(expected, actual);
    const outcome = {
      failures: [] as string[],
      snapshots: [before.id],
      packages: [restorePackage],
    };
    if (missing === undefined) {
      tell('7', 'the result is as expected: the test has passed');
      return { ...outcome, verdict: 'passed' };
    }
    const restored = await startFromPackage(lab, driver, restorePackage);
    front.switchTo(restored.agent);
    const again = await front.measure();
    tell(
      '7',
      `the test has failed (${missing}); switched to ${restored.vnf.id}: ${describeLevel(again)}`,
    );
    const still = shortfall(expected, again);
    const evidence = await takeSnapshot(
      lab,
      vnf,
      'after the failed test',
      SnapshotPurpose.POST_MORTEM,
      ConsistencyPolicy.NONE,
    );
    const evidencePackage = await store(lab, evidence.id, 'after the failed test');
    tell(
      '8',
      `the failed components are kept as package ${evidencePackage} for root cause analysis`,
    );
    await terminate(lab, vnf);
    return {
      failures: still === undefined ? [] : [`the service is not restored: ${still}`],
      snapshots: [...outcome.snapshots, evidence.id],
      packages: [...outcome.packages, evidencePackage],
      verdict: 'failed',
    };
  },
};

/** Step 5: the service has a function of its own for high availability, which has the VNF healed. */
async function react({ lab, tell }: Stage, vnfInstanceId: string): Promise<void> {
  const healed = await lab.lcm.healVnf({ vnfInstanceId, cause: 'a component was seen failing' });
  const { result } = await lab.follow(healed.lifecycleOperationOccurrenceId);
  tell('5', `the service reacts: ${OperationType[OperationType.HEAL]} did ${result.action}`);
}
