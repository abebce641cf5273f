import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'ava';
import { tempFolder } from '../../../support/temp-folder.ts';
import { startPair, until, vnf } from '../../../support/wasmvm/demo-pair.ts';
import { openDriver } from '../../../support/wasmvm/open-driver.ts';

test('gateway: prepared, it issues no number and its disk agrees; resumed, it goes on', async (t) => {
  const driver = await openDriver(await tempFolder(t));
  t.teardown(driver.close);
  const { client } = driver;
  await startPair(client);
  for (const role of ['gateway', 'database'] as const) {
    const prepared = await vnf(client, role, 'prepare');
    t.true(prepared.ok && prepared.prepared);
  }
  const before = await vnf(client, 'gateway');
  await new Promise((resolve) => setTimeout(resolve, 300));
  const after = await vnf(client, 'gateway');
  t.is(after.counter, before.counter);
  t.is(after.lines, after.counter);
  t.true((await vnf(client, 'database', 'resume')).ok);
  t.false((await vnf(client, 'gateway', 'resume')).prepared);
  await until('it goes on', async () => (await vnf(client, 'gateway')).counter > after.counter + 3);
});

test('database: wrecked, it breaks the invariant and says so', async (t) => {
  const driver = await openDriver(await tempFolder(t));
  t.teardown(driver.close);
  const { client } = driver;
  await startPair(client);
  t.true((await vnf(client, 'database', 'wreck')).ok);
  await until('it notices', async () => (await vnf(client, 'database')).fault);
  const [gateway, database] = [await vnf(client, 'gateway'), await vnf(client, 'database')];
  t.false(gateway.counter - 1 <= database.counter && database.counter <= gateway.counter);
});

test('gateway: an unknown operation is answered with an error and the id', async (t) => {
  const driver = await openDriver(await tempFolder(t));
  t.teardown(driver.close);
  await startPair(driver.client);
  const answer = await vnf(driver.client, 'gateway', 'dance');
  t.regex(answer.error ?? '', /unknown operation/);
});

test('VnfChannels: what is not a JSON object, and a line without end, close the connection', async (t) => {
  const driver = await openDriver(await tempFolder(t));
  t.teardown(driver.close);
  await startPair(driver.client);
  const { compute } = await driver.client.getCompute({ computeId: 'gateway' });
  for (const text of ['not json\n', '[1]\n', 'x'.repeat(5000)]) {
    const socket = connect(compute?.vnfChannel ?? '');
    socket.on('error', () => {});
    socket.write(text);
    await once(socket.resume(), 'close');
  }
  t.is((await vnf(driver.client, 'gateway')).role, 'gateway');
});
