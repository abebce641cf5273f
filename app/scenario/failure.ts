import { readdir, readFile, readlink } from 'node:fs/promises';
import { ComputeOperation, DriverService } from '../../gen/nfv/driver/v1/driver_pb.js';
import type { VnfInstance } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { internal, invalidArgument } from '../../sdk/errors.ts';
import type { Site } from '../demo/site.ts';
import { askComponent } from '../demo/vnf-channel.ts';

/** What is done to a component, behind the back of whoever manages it. */
export type FailureKind = 'stop' | 'stall' | 'network-cut' | 'crash';
const failureKinds: readonly FailureKind[] = ['stop', 'crash', 'stall', 'network-cut'];

/** INVALID_ARGUMENT with reason USAGE. */
export function failureNamed(name: string): FailureKind {
  const found = failureKinds.find((kind) => kind === name);
  if (found !== undefined) return found;
  const text = `--failure "${name}": must be one of ${failureKinds.join(', ')}`;
  throw invalidArgument('USAGE', text, { failure: name });
}

/** How long a guest stalls, or is without a network: the failure passes by itself. */
const passesMs = 2000;
/** By then a program that was told to crash has heard of it. */
const crashMsMax = 1000;

/** Injects a failure into a component; returns when it is done, and has passed if it passes. */
export async function inject(
  { site, driver, vnf, vduId }: { site: Site; driver: string; vnf: VnfInstance; vduId: string },
  failure: FailureKind,
): Promise<void> {
  const vnfc = vnf.instantiatedVnfInfo?.vnfcResourceInfo.find((item) => item.vduId === vduId);
  const computeId = vnfc?.computeResource?.resourceId;
  if (computeId === undefined) throw internal('SCENARIO', `the VNF has no component "${vduId}"`);
  const operate = (operation: ComputeOperation) =>
    site.client(DriverService, 'vim').operateCompute({ computeId, operation }, { target: driver });
  switch (failure) {
    case 'stop':
      await operate(ComputeOperation.STOP_FORCEFUL);
      return;
    case 'stall':
      await operate(ComputeOperation.PAUSE);
      await sleep(passesMs);
      await operate(ComputeOperation.UNPAUSE);
      return;
    case 'network-cut':
      await operate(ComputeOperation.DISCONNECT);
      await sleep(passesMs);
      await operate(ComputeOperation.CONNECT);
      return;
    case 'crash':
      if (driver === 'qemu') await killHypervisor(site, computeId);
      else await crashProgram(vnfc!.vnfChannel);
  }
}

/** The hypervisor of a guest dies: the QEMU of that name which works below the site's folder. */
async function killHypervisor(site: Site, computeId: string): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // A process may be gone by now, or belong to somebody else.
    const folder = await readlink(`/proc/${name}/cwd`).catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    const isQemu = /^[^\0]*qemu-system/.test(command) && folder.startsWith(site.folder);
    if (!isQemu || !command.includes(`\0-name\0${computeId}`)) continue;
    process.kill(Number(name), 'SIGKILL');
    return;
  }
  throw internal('SCENARIO', `no QEMU of ${computeId} works below ${site.folder}`);
}

/** The guest's program hits a fault of its own: it cannot answer any more. */
async function crashProgram(channel: string): Promise<void> {
  await askComponent(channel, 'crash', undefined, crashMsMax).catch(() => {});
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
