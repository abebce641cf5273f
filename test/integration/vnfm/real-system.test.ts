import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { broken, components } from '../../../app/demo/invariant.ts';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import type { VnfAgent } from '../../../app/demo/vnf-agent.ts';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { isRpcError } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { finished } from '../../support/vnfm/rig.ts';
import { buildGuestImage, processesIn, tools } from '../drivers/qemu/lab.ts';

/** How long traffic may take on a busy machine, in milliseconds. */
const trafficMs = 180_000;

/** A whole system with the embedded driver and the demo VNF under traffic. */
async function runningLab(t: ExecutionContext, driver: string, failpoints: string) {
  const folder = await tempFolder(t);
  const configuration = { version: 1 as const, drivers: [driver] };
  const hits = join(folder, 'hits');
  const environment = { NFV_FAILPOINTS: failpoints, NFV_FAILPOINTS_LOG: hits };
  const site = await Site.start('test', join(folder, 's'), configuration, environment);
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  // Real machines live on without their manager: they are ended before it is.
  t.teardown(() => lab.clean());
  const vnf = await lab.instantiate(driver, false);
  const agent = await lab.agent(vnf);
  const operations = site.client(OperationOccurrenceService, 'em');
  return { folder, hits, lab, vnfInstanceId: vnf.id, agent, operations };
}

async function counter(agent: VnfAgent): Promise<number> {
  return components(await agent.states()).gateway.counter;
}

function reaches(agent: VnfAgent, number: number): Promise<unknown> {
  return eventually(
    `the traffic reaches ${number}`,
    // A guest that boots on a busy machine may not answer yet.
    async () => {
      const reached = await counter(agent).catch((error) => {
        if (isRpcError(error, 'COMPONENT_SILENT')) return 0;
        throw error;
      });
      return reached >= number;
    },
    trafficMs,
  );
}

/** What makes the reversion fail when all are loaded, and the reason that the operation gives. */
const failures = {
  wasmvm: { action: '1*error(planned)', reason: 'FAILPOINT' },
  // While it sleeps, QEMU is killed.
  qemu: { action: '1*sleep(5000)', reason: 'COMPUTE_STATE' },
};

/** Waits until a step is reached, and kills the gateway's QEMU. */
async function killGateway(folder: string, hits: string, point: string): Promise<void> {
  const isReached = async () => (await readFile(hits, 'utf8')).split('\n').includes(point);
  await eventually(point, isReached, trafficMs);
  for (const pid of await processesIn(folder)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    if (/^[^\0]*qemu-system[^\0]*\0-name\0[^\0]*gateway/.test(command))
      process.kill(pid, 'SIGKILL');
  }
}

const failing = test.macro({
  title: (_given, driver: keyof typeof failures) =>
    `VNFM with ${driver} guests: a reversion that fails when all are loaded leaves the VNF going on`,
  exec: async (t, driver: keyof typeof failures) => {
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      buildGuestImage();
    }
    const point = 'vnfm.revert-to-vnf-snapshot.release gateway-0';
    const { action, reason } = failures[driver];
    const { folder, hits, lab, vnfInstanceId, agent, operations } = await runningLab(
      t,
      driver,
      `${point}=${action}`,
    );
    await reaches(agent, 5);
    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
    await lab.follow(taken.lifecycleOperationOccurrenceId);
    const atSnapshot = components(agent.handled[0]!.states).gateway.counter;
    await reaches(agent, atSnapshot + 10);
    const before = await counter(agent);

    const { vnfSnapshotInfoId } = taken;
    const doomed = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    if (driver === 'qemu') await killGateway(folder, hits, point);
    const end = await finished({ operations }, doomed.lifecycleOperationOccurrenceId);
    t.is(end.operationState, OperationState.ROLLED_BACK, end.error?.detail);
    t.is(end.error?.reason, reason);
    t.true((await counter(agent)) >= before, 'no number was given back');
    await agent.askAll('resume');
    await reaches(agent, before + 5);

    const reverted = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    await lab.follow(reverted.lifecycleOperationOccurrenceId);
    const states = agent.handled.at(-1)!.states;
    t.is(components(states).gateway.counter, atSnapshot, 'the VNF goes on from the snapshot');
    t.is(broken(states), undefined);
    await reaches(agent, atSnapshot + 5);
  },
});

test.serial(failing, 'wasmvm');
test.serial(failing, 'qemu');
