import test, { type ExecutionContext } from 'ava';
import { skipUnless } from '../../../support/require-tool.ts';
import { connectionEnds, lockHolder, lockTaker } from './guest-programs.ts';
import {
  buildGuestImage,
  type Driver,
  dataFolder,
  inGuest,
  revertPair,
  roles,
  snapshotPair,
  startDriver,
  startPair,
  tools,
  until,
} from './lab.ts';

const port = 9000;

/** Writes a Perl program into a guest and leaves it running there; its process number, once it is ready. */
async function leaveRunning(driver: Driver, role: string, name: string, text: string) {
  const file = `/run/${name}`;
  await inGuest(driver, role, `cat > ${file}.pl <<'END'\n${text}\nEND`);
  await inGuest(driver, role, `perl ${file}.pl > ${file}.log 2>&1 < /dev/null & echo started`);
  return until(`${name} in ${role} to be ready`, 10_000, () =>
    inGuest(driver, role, `cat ${file}.pid || { cat ${file}.log >&2; exit 1; }`),
  );
}

/** What an end of the connection says of itself. */
type End = { local: number; peer: number; last: number; connections: number };

async function endOf(driver: Driver, role: string): Promise<End> {
  const text = await inGuest(
    driver,
    role,
    'cat /run/end.state || { cat /run/end.log >&2; exit 1; }',
  );
  const [local = 0, peer = 0, last = 0, connections = 0] = text.split(' ').map(Number);
  return { local, peer, last, connections };
}

/** Both ends, once the number has come so far. An end that lost its connection never gets there. */
async function carried(driver: Driver, beyond: number): Promise<{ client: End; server: End }> {
  const client = await until(`the connection to carry ${beyond}`, 20_000, async () => {
    const end = await endOf(driver, 'gateway');
    return end.last > beyond && end;
  });
  return { client, server: await endOf(driver, 'database') };
}

/** The established connections of a guest's kernel on our port, as "local:remote" ports. */
async function established(driver: Driver, role: string): Promise<string[]> {
  const table = await inGuest(driver, role, 'cat /proc/net/tcp');
  const portOf = (address: string) => Number.parseInt(address.split(':')[1]!, 16);
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === '01')
    .map(([, local, remote]) => `${portOf(local!)}:${portOf(remote!)}`)
    .filter((ports) => ports.split(':').includes(`${port}`));
}

/** What another process in the guest gets when it wants both locks: "<flock> <fcntl> <holder of it>". */
const wantLocks = (driver: Driver) => inGuest(driver, 'database', 'perl /run/taker.pl');

const endAll = (driver: Driver, role: string, name: string) =>
  inGuest(driver, role, `kill -9 $(cat /run/${name}.pid)`);

test.serial(
  'Memory of a guest holds the TCP connections and file locks of its kernel, and brings them back [5.1.3.2/tcp-established 5.1.3.3/tcp-established 5.1.3.3/file-locks]',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    buildGuestImage();
    const driver = await startDriver(await dataFolder(t));
    t.teardown(() => driver.close());
    await startPair(driver);
    await leaveRunning(driver, 'database', 'end', connectionEnds.server(port));
    await leaveRunning(driver, 'gateway', 'end', connectionEnds.client('10.77.0.2', port));
    const holder = await leaveRunning(driver, 'database', 'holder', lockHolder);
    await inGuest(driver, 'database', `cat > /run/taker.pl <<'END'\n${lockTaker}\nEND`);
    t.is(await wantLocks(driver), `refused refused ${holder}`);
    const { client } = await carried(driver, 10);

    // The peer is not part of this one: the guest lives on, and so does its connection.
    const alone = { computeId: 'gateway', snapshotId: 'alone', memory: true };
    await driver.client.createInstanceSnapshot({
      ...alone,
      volumeIds: ['gateway-root', 'gateway-data'],
    });
    await sameConnection(t, driver, client);

    await snapshotPair(driver, 's1');
    // So far that what the reversion's first look sees cannot be as far.
    const atEnd = await sameConnection(t, driver, client, 100);
    await endAll(driver, 'gateway', 'end');
    await endAll(driver, 'database', 'end');
    await endAll(driver, 'database', 'holder');
    for (const role of roles) {
      await until('the connection to end', 10_000, async () => {
        return (await established(driver, role)).length === 0;
      });
    }
    t.is(await wantLocks(driver), 'taken taken 0', 'nobody holds them');

    await revertPair(driver, 's1');
    const { last } = await endOf(driver, 'gateway');
    t.true(last < atEnd, `${last} is before ${atEnd}`);
    await sameConnection(t, driver, client);
    t.is(await wantLocks(driver), `refused refused ${holder}`);
  },
);

/** The connection carries more numbers without a gap, and is the one that it was; returns how far it came. */
async function sameConnection(
  t: ExecutionContext,
  driver: Driver,
  first: End,
  more = 10,
): Promise<number> {
  const { last } = await endOf(driver, 'gateway');
  const { client, server } = await carried(driver, last + more);
  t.is(client.local, first.local);
  t.is(client.peer, port);
  t.deepEqual([server.local, server.peer], [port, first.local]);
  t.deepEqual([client.connections, server.connections], [1, 1], 'nobody connected again');
  t.deepEqual(await established(driver, 'gateway'), [`${client.local}:${port}`]);
  t.deepEqual(await established(driver, 'database'), [`${port}:${client.local}`]);
  return client.last;
}
