import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { ExecutionContext } from 'ava';
import { askComponent } from '../../../app/demo/vnf-channel.ts';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { withGuestAgent } from '../../../plugins/drivers/qemu/channels/guest-agent.ts';
import { runFiles } from '../../../plugins/drivers/qemu/machine/arguments.ts';
import { isRpcError } from '../../../sdk/errors.ts';
import { buildGuestImage, processesOf } from '../../integration/drivers/qemu/lab.ts';
import { eventually } from '../eventually.ts';
import { guestProcesses } from './qemu-leftovers.ts';
import { SystemRig } from './system-rig.ts';

/** The freeze of a VNF may last this much longer than its hold. */
export const freezeMarginMs = 30_000;
/** What a busy machine may add. */
export const slackMs = 60_000;
const bootMsMax = 180_000;
const agentMsMax = 30_000;

/** The machines of a site: process ids of QEMU by the guest's name. */
export async function machines(rig: SystemRig): Promise<Record<string, number>> {
  return Object.fromEntries((await guestProcesses(rig)).machines);
}

/** A site with the demo VNF on real guests, under traffic; its holds last at most `holdMs`. */
export async function runningVnf(t: ExecutionContext, holdMs: number): Promise<SystemRig> {
  buildGuestImage();
  const rig = await SystemRig.open(t, 'qemu');
  t.teardown(async () => {
    await rig.kill();
    for (const pid of await processesOf(rig.folder)) process.kill(pid, 'SIGKILL');
    const gone = async () => (await processesOf(rig.folder)).length === 0;
    await eventually('the machines end', gone);
  });
  await rig.instantiate((vnfd) => {
    vnfd.snapshotDescriptor!.holdDeadline = durationFromMs(holdMs);
  });
  // A guest that boots on a busy machine may not answer yet.
  const states = () =>
    rig.agent.states().catch((error) => {
      if (isRpcError(error, 'COMPONENT_SILENT')) return {};
      throw error;
    });
  const traffic = async () => {
    const counters = Object.values(await states()).map(({ counter }) => counter);
    return counters.length > 0 && counters.every((counter) => counter > 3);
  };
  await eventually('the guests speak to each other', traffic, bootMsMax);
  return rig;
}

/** The channels of the guests, which outlive the site. */
export async function channelsOf(rig: SystemRig): Promise<string[]> {
  const driver = rig.site.client(DriverService, 'vim');
  const { computes } = await driver.listComputes({}, { target: rig.driver });
  return computes.map(({ vnfChannel }) => vnfChannel);
}

/** Waits until every guest has counted further: it runs, and may write to its disks. */
export async function untilAllCount(channels: string[], withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs;
  const ask = async (path: string) => {
    for (;;) {
      try {
        return await askComponent(path, 'status', AbortSignal.timeout(withinMs));
      } catch (error) {
        // One that stands may be let go later than a client waits.
        if (!isRpcError(error, 'COMPONENT_SILENT') || performance.now() > endMs) throw error;
      }
    }
  };
  const counters = new Map<string, number>();
  for (const path of channels) counters.set(path, (await ask(path)).counter);
  for (const [path, counter] of counters) {
    const leftMs = Math.max(1, endMs - performance.now());
    await eventually(
      'all guests count on',
      async () => (await ask(path)).counter > counter + 1,
      leftMs,
    );
  }
}

/** Runs a shell command in every guest; what each printed. */
export async function inGuests(rig: SystemRig, command: string): Promise<string[]> {
  const printed: string[] = [];
  for (const pid of Object.values(await machines(rig))) {
    const socket = join(await readlink(`/proc/${pid}/cwd`), runFiles.agent);
    const { stdout } = await withGuestAgent(socket, agentMsMax, (agent) =>
      agent.exec('/bin/sh', ['-c', command]),
    );
    printed.push(stdout.trim());
  }
  return printed;
}
