import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../../sdk/errors.ts';
import { silentLogger } from '../../../../sdk/ports/logger.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { startPair, until, vnf } from '../../../support/wasmvm/demo-pair.ts';
import { openDriver } from '../../../support/wasmvm/open-driver.ts';
import {
  growBody,
  spinBody,
  type TinyProgram,
  tinyProgram,
  trapBody,
} from '../../../support/wasmvm/tiny-programs.ts';

const builtIn = fileURLToPath(new URL('../../../../build/guests', import.meta.url));

async function openWith(t: ExecutionContext, programs: Record<string, TinyProgram>) {
  const folder = await tempFolder(t);
  const images = join(folder, 'images');
  await mkdir(images);
  for (const [name, program] of Object.entries(programs)) {
    await writeFile(join(images, `${name}.wasm`), tinyProgram(program));
  }
  const config = { imageFolders: [images, builtIn] };
  const driver = await openDriver(join(folder, 'data'), config, silentLogger);
  t.teardown(driver.close);
  return { ...driver, folder, config };
}

test('wasmvm: a guest that traps is FAILED with the reason, also after a restart, and starts again', async (t) => {
  const { client, close, folder, config } = await openWith(t, { trap: { tick: trapBody } });
  await client.createCompute({ computeId: 'trap', spec: { image: 'trap.wasm' } });
  await client.operateCompute({ computeId: 'trap', operation: 1 });
  const failed = async () => {
    const { compute } = await client.getCompute({ computeId: 'trap' });
    return compute?.state === ComputeState.FAILED && compute.stateReason.includes('unreachable');
  };
  await until('it failed', failed);
  await client.operateCompute({ computeId: 'trap', operation: 1 });
  await until('it failed again', failed);
  await close();
  const next = await openDriver(join(folder, 'data'), config);
  t.teardown(next.close);
  const { compute } = await next.client.getCompute({ computeId: 'trap' });
  t.is(compute?.state, ComputeState.FAILED);
});

test('wasmvm: a guest that takes more memory than its spec allows is FAILED', async (t) => {
  const { client } = await openWith(t, { grow: { tick: growBody } });
  await client.createCompute({ computeId: 'grow', spec: { image: 'grow.wasm', memoryMib: 1 } });
  await client.operateCompute({ computeId: 'grow', operation: 1 });
  await until('it failed', async () => {
    const { compute } = await client.getCompute({ computeId: 'grow' });
    return compute?.state === ComputeState.FAILED;
  });
  const { compute } = await client.getCompute({ computeId: 'grow' });
  t.true(compute?.stateReason.includes('memory'), compute?.stateReason);
});

test('wasmvm: a guest that computes for ever is FAILED, and the others start again', async (t) => {
  const { client } = await openWith(t, { spin: { tick: spinBody } });
  await startPair(client);
  const before = await vnf(client, 'gateway');
  const { lease } = await client.holdCompute({
    computeId: 'database',
    deadline: { seconds: 600n, nanos: 0 },
  });
  await client.createCompute({ computeId: 'spin', spec: { image: 'spin.wasm' } });
  // Its answer may be lost with the machine room.
  await client.operateCompute({ computeId: 'spin', operation: 1 }).catch(() => undefined);
  await until('it failed', async () => {
    const { compute } = await client.getCompute({ computeId: 'spin' });
    return compute?.state === ComputeState.FAILED && compute.stateReason.includes('too long');
  });
  await until('the others run', async () => (await vnf(client, 'database')).counter > 3);
  // Asked again when the guest that took the question was cut off before its answer.
  await until('the gateway lives anew', async () => {
    return (await vnf(client, 'gateway')).generation !== before.generation;
  });
  const { compute } = await client.getCompute({ computeId: 'gateway' });
  t.regex(compute?.stateReason ?? '', /power failure/);
  const leaseId = lease?.leaseId ?? '';
  await throwsRpc(t, client.releaseCompute({ computeId: 'database', leaseId }), {
    code: Code.ABORTED,
    reason: 'LEASE_EXPIRED',
  });
});

// Alone: it stops the thread that the other tests of this file run in too.
test.serial(
  'wasmvm: a hold ends at its deadline although the thread of the driver hangs',
  async (t) => {
    const { client } = await openWith(t, {});
    await startPair(client);
    const { counter } = await vnf(client, 'gateway');
    const leases: string[] = [];
    for (const computeId of ['gateway', 'database']) {
      const deadline = { seconds: 0n, nanos: 500_000_000 };
      leases.push((await client.holdCompute({ computeId, deadline })).lease?.leaseId ?? '');
    }
    // The thread that was asked for the holds does nothing from before their deadline to long after it.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
    const after = await vnf(client, 'gateway');
    // 2.5 s of counting, at a number in two ticks of 10 ms, less what a busy machine takes.
    t.true(after.counter - counter > 20, `${counter} → ${after.counter}`);
    const call = client.releaseCompute({ computeId: 'gateway', leaseId: leases[0] ?? '' });
    await throwsRpc(t, call, { code: Code.ABORTED, reason: 'LEASE_EXPIRED' });
  },
);
