import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { identify } from '../../../../plugins/drivers/qemu/host/process.ts';
import { recordOpening, serveLayer } from '../../../../plugins/drivers/qemu/snapshots/openings.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { type Driver, dataFolder, processesOf, startDriver, tools } from './lab.ts';

async function openDriver(t: ExecutionContext): Promise<Driver> {
  const driver = await startDriver(await dataFolder(t));
  t.teardown(() => driver.close());
  return driver;
}

test.serial(
  'Closing an opening leaves a stranger alone that has its server’s number',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    const driver = await openDriver(t);
    const stranger = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
    t.teardown(() => stranger.kill('SIGKILL'));
    await once(stranger, 'spawn');
    const identity = identify(stranger.pid!)!;
    // The server ended long ago, and the host gave its number to somebody else.
    const servers = [{ ...identity, startTicks: identity.startTicks - 1 }];
    // As an earlier release recorded it.
    const opening = { ...recordOpening(driver.context, { topLayerIds: [] }), servers };
    driver.context.store.put('opening', opening.token, opening);

    await driver.client.closeData({ token: opening.token });
    t.deepEqual(identify(stranger.pid!), identity, 'it lives');
    t.is(driver.context.store.get('opening', opening.token), undefined);
  },
);

test.serial('Closing an opening ends its servers, also those whose leader is gone', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  const driver = await openDriver(t);
  const { client, context } = driver;
  await client.createVolume({ volumeId: 'disk', sizeBytes: 1024n * 1024n });
  const layer = context.layers.get(context.store.get('volume', 'disk')!.activeLayerId);
  const { token } = recordOpening(context, { topLayerIds: [layer.layerId] });
  await serveLayer(context, token, 0, 'whole', layer);
  const [leader] = await processesOf(context.folders.nbd, 'timeout');
  await serveLayer(context, token, 1, 'orphan', layer);
  t.is((await processesOf(context.folders.nbd)).length, 4, 'two servers, each with its leader');
  process.kill(leader!, 'SIGKILL');

  await client.closeData({ token });
  t.deepEqual(await processesOf(context.folders.nbd), []);
});
