import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { askVnf, type VnfStatus } from '../vnf-client.ts';
import type { DriverClient } from './open-driver.ts';

export const roles = ['gateway', 'database'] as const;
export type Role = (typeof roles)[number];

const waitMsMax = 20_000;

/**
 * Makes and starts one component of the demo VNF; its ids are its role, and its volume is
 * `<role>-data`.
 */
export async function startComponent(client: DriverClient, role: Role): Promise<void> {
  await client.createNetwork({ networkId: 'link' });
  await client.createVolume({ volumeId: `${role}-data`, sizeBytes: 8n * 1024n * 1024n });
  await client.createCompute({
    computeId: role,
    spec: {
      image: `${role}.wasm`,
      volumes: [{ volumeId: `${role}-data`, name: 'data' }],
      interfaces: [{ networkId: 'link' }],
    },
  });
  await client.operateCompute({ computeId: role, operation: ComputeOperation.START });
}

/** Starts both components and waits until they have counted a little. */
export async function startPair(client: DriverClient): Promise<void> {
  for (const role of roles) await startComponent(client, role);
  await until('the pair counts', async () => (await vnf(client, 'database')).counter >= 3);
}

export async function vnf(
  client: DriverClient,
  role: Role,
  operation = 'status',
): Promise<VnfStatus> {
  const { compute } = await client.getCompute({ computeId: role });
  return askVnf(compute?.vnfChannel ?? '', operation, 3_000);
}

/** Captures memory and the data disk of a component. */
export async function capture(
  client: DriverClient,
  role: Role,
  snapshotId: string,
  leaseId = '',
): Promise<void> {
  await client.createInstanceSnapshot({
    computeId: role,
    snapshotId,
    memory: true,
    volumeIds: [`${role}-data`],
    leaseId,
  });
}

/** Waits until something holds. */
export async function until(what: string, check: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + waitMsMax;
  for (;;) {
    const holds = await check().catch((error: Error) => {
      if (performance.now() > end) throw error;
      return false;
    });
    if (holds) return;
    if (performance.now() > end) throw new Error(`waited ${waitMsMax} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
