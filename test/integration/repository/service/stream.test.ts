import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { ImageFormat, ImageRole, MapSource } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  PackageKind,
  RepositoryService,
  type StorePackageFromStreamRequestSchema,
} from '../../../../gen/nfv/repository/v1/repository_pb.js';
import { repositoryPlugin } from '../../../../plugins/repository/plugin.ts';
import { createClient } from '../../../../sdk/client.ts';
import { Code } from '../../../../sdk/errors.ts';
import { noise } from '../../../support/cli/disk-images.ts';
import { eventually } from '../../../support/eventually.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { roleChannel, testKernel } from '../../../support/test-kernel.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

type Request = MessageInitShape<typeof StorePackageFromStreamRequestSchema>;

const mib = 2 ** 20;
const sizeBytes = 20 * mib + 1000;
const disk = { role: ImageRole.DISK, logicalBytes: BigInt(sizeBytes) };

/** A repository behind a kernel, called over the socket of a role. */
async function repository(t: ExecutionContext, settings: { streamIdleSeconds?: number } = {}) {
  const folder = await tempFolder(t);
  const kernel = await testKernel(t, { roles: ['vnfm'] });
  await kernel.add(repositoryPlugin, { config: { folder: join(folder, 'store'), ...settings } });
  await kernel.start();
  const client = createClient(RepositoryService, roleChannel(t, kernel, 'vnfm'), {
    deadlineMs: 120_000,
  });
  return { client, folder, address: `unix:${kernel.socketOf('vnfm')}` };
}

type Client = Awaited<ReturnType<typeof repository>>['client'];

/** Data at both ends and across the bounds of blocks, nothing in the middle. */
function image(seed = 'new'): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  noise(`${seed} front`, 6 * mib + 5000).copy(bytes, 0);
  noise('back', mib + 777).copy(bytes, sizeBytes - mib - 777);
  return bytes;
}

function header(packageId: string, more: object = {}): Request {
  const value = { packageId, kind: PackageKind.IMAGES, images: [{ name: 'd', ...disk }], ...more };
  return { part: { case: 'package', value } };
}

function piece(offset: number, content: Uint8Array, imageIndex = 0): Request {
  return { part: { case: 'piece', value: { imageIndex, offset: BigInt(offset), content } } };
}

const end: Request = { part: { case: 'end', value: {} } };

/** The pieces of a certain size that have data in them. */
function* piecesOf(bytes: Buffer, pieceBytes: number, imageIndex = 0): Generator<Request> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const content = bytes.subarray(at, at + pieceBytes);
    if (content.some((byte) => byte !== 0)) yield piece(at, content, imageIndex);
  }
}

async function* stream(...parts: Iterable<Request>[]) {
  for (const some of parts) yield* some;
}

async function storeFile(client: Client, folder: string, packageId: string, bytes: Buffer) {
  const path = join(folder, packageId);
  await writeFile(path, bytes);
  const location = {
    ...{ name: 'd', role: ImageRole.DISK, sizeBytes: BigInt(bytes.length) },
    location: { case: 'localFile' as const, value: { path, format: ImageFormat.RAW } },
  };
  const images = [{ location }];
  const request = { packageId, kind: PackageKind.IMAGES, images };
  for await (const { event } of client.storePackage(request)) {
    if (event.case === 'package') return event.value.images[0]!;
  }
  throw new Error('no package');
}

test('a stream of images makes the package that their files make, whatever the size of a piece', async (t) => {
  const { client, folder } = await repository(t);
  const bytes = image();
  const { root } = await storeFile(client, folder, 'file', bytes);
  for (const pieceBytes of [mib, 100_001, 4096]) {
    const packageId = `stream-${pieceBytes}`;
    const images = ['a', 'empty', 'b'].map((name) => ({ name, ...disk }));
    const parts = [piecesOf(bytes, pieceBytes, 0), piecesOf(bytes, pieceBytes, 2), [end]];
    const sent = stream([header(packageId, { images })], ...parts);
    const { package: made } = await client.storePackageFromStream(sent);
    t.deepEqual(
      made!.images.map((each) => [each.name, each.root === root, each.newBlocks]),
      // All blocks are there already.
      [
        ['a', true, 0n],
        ['empty', false, 0n],
        ['b', true, 0n],
      ],
    );
    const listed = await client.getPackage({ packageId });
    t.deepEqual(listed.package, made);
  }
  const path = join(folder, 'back');
  const location = {
    ...{ name: 'a', role: ImageRole.DISK },
    location: { case: 'localFile' as const, value: { path, format: ImageFormat.RAW } },
  };
  const targets = [{ imageName: 'a', location }];
  for await (const _ of client.restoreImages({ packageId: 'stream-4096', targets }));
  t.true(bytes.equals(await readFile(path)));
});

/** Of memory that a stream of 256 MiB may take beyond what one of 64 MiB took. */
const growthBytesMax = 96 * mib;

test.serial('a stream four times as long takes little more memory', async (t) => {
  const { client } = await repository(t);
  async function* long(packageId: string, pieces: number) {
    const image = { name: 'd', role: ImageRole.DISK, logicalBytes: BigInt(pieces * mib) };
    yield header(packageId, { images: [image] });
    for (let at = 0; at < pieces; at++) yield piece(at * mib, randomBytes(mib));
    yield end;
  }
  const peakAfter = async (pieces: number) => {
    const sent = long(`p-${pieces}`, pieces);
    const { package: made } = await client.storePackageFromStream(sent);
    t.is(made!.images[0]!.newBlocks, BigInt(pieces * 16));
    return process.resourceUsage().maxRSS * 1024;
  };
  const growth = -(await peakAfter(64)) + (await peakAfter(256));
  t.log(`${Math.round(growth / mib)} MiB`);
  t.true(growth < growthBytesMax, `${growth / mib} MiB`);
});

test('a stream with a parent stores only what changed, and a repeat returns the package', async (t) => {
  const { client, folder } = await repository(t);
  const bytes = image();
  await storeFile(client, folder, 'first', bytes);
  bytes[70_000]! ^= 1;
  bytes[sizeBytes - 1]! ^= 1;
  const send = () => {
    const more = { parentPackageId: 'first', withoutDelta: true };
    const parts = [[header('second', more)], piecesOf(bytes, mib), [end]];
    return client.storePackageFromStream(stream(...parts));
  };
  const { package: made } = await send();
  t.like(made!.images[0], { newBlocks: 2n, mapSource: MapSource.HASH_SCAN });
  t.is(made!.parentPackageId, 'first');
  t.deepEqual((await send()).package, made);
});

const kib = (count: number) => noise('piece', count * 1024);
const refusals: [string, string, Request[]][] = [
  ['a piece before the package', 'STREAM_INVALID', [piece(0, kib(1))]],
  ['a second package', 'STREAM_INVALID', [header('p'), header('p'), end]],
  ['a message after the end', 'STREAM_INVALID', [header('p'), end, piece(0, kib(1))]],
  ['an empty message', 'STREAM_INVALID', [header('p'), {}, end]],
  ['a piece of no image', 'STREAM_INVALID', [header('p'), piece(0, kib(1), 1), end]],
  ['a stream that only stops', 'STREAM_INCOMPLETE', [header('p'), piece(0, kib(1))]],
  [
    'a piece that overlaps',
    'PIECE_OUT_OF_ORDER',
    [header('p'), piece(0, kib(64)), piece(1000, kib(64)), end],
  ],
  [
    'a piece of before',
    'PIECE_OUT_OF_ORDER',
    [header('p'), piece(9 * mib, kib(64)), piece(0, kib(64)), end],
  ],
  ['a piece beyond the end', 'PIECE_OUT_OF_RANGE', [header('p'), piece(20 * mib, kib(1)), end]],
  ['a piece too large', 'PIECE_TOO_LARGE', [header('p'), piece(0, kib(1025)), end]],
];

test('a stream out of order is refused with its place, and publishes nothing', async (t) => {
  const { client } = await repository(t);
  for (const [what, reason, parts] of refusals) {
    const call = client.storePackageFromStream(stream(parts));
    const error = await throwsRpc(t, call, { code: Code.INVALID_ARGUMENT, reason });
    if (reason.startsWith('PIECE')) {
      t.regex(error.message, /image "d".*at byte \d+/, what);
      t.like(error.metadata, { image: 'd' }, what);
    }
  }
  const two = ['a', 'b'].map((name) => ({ name, ...disk }));
  const back = [header('p', { images: two }), piece(0, kib(1), 1), piece(9, kib(1), 0), end];
  const reason = 'STREAM_INVALID';
  await throwsRpc(t, client.storePackageFromStream(stream(back)), {
    code: Code.INVALID_ARGUMENT,
    reason,
  });
  t.deepEqual((await client.listPackages({})).packages, []);
});

test('a sender that is killed in the middle leaves no package and no lease, and sends again', async (t) => {
  const { client, folder, address } = await repository(t);
  const program = join(import.meta.dirname, '../../../support/stream-client.ts');
  const child = spawn(process.execPath, [program, address, 'p'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const leases = () => readdir(join(folder, 'store', 'tmp'));
  await eventually('the repository is at work', async () => (await leases()).length > 0, 30_000);
  child.kill('SIGKILL');
  await eventually('the lease is given back', async () => (await leases()).length === 0, 30_000);
  t.deepEqual((await client.listPackages({})).packages, []);
  t.deepEqual(await readdir(join(folder, 'store', 'resume')), []);
  const again = stream([header('p')], piecesOf(image(), mib), [end]);
  t.is((await client.storePackageFromStream(again)).package!.packageId, 'p');
});

test('a call that is cancelled ends at once although its sender is silent', async (t) => {
  const { client } = await repository(t);
  const controller = new AbortController();
  async function* silent() {
    yield header('p');
    controller.abort();
    await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
  }
  const call = client.storePackageFromStream(silent(), { signal: controller.signal });
  await throwsRpc(t, call, { code: Code.CANCELLED, reason: 'CANCELLED' });
  t.deepEqual((await client.listPackages({})).packages, []);
});

test('a sender that falls silent is told so, leaves nothing, and sends again', async (t) => {
  const { client, folder } = await repository(t, { streamIdleSeconds: 0.5 });
  const silence = new AbortController();
  t.teardown(() => silence.abort());
  async function* silent() {
    yield header('p');
    yield piece(0, image().subarray(0, mib));
    await once(silence.signal, 'abort');
  }
  const call = client.storePackageFromStream(silent());
  const error = await throwsRpc(t, call, { code: Code.DEADLINE_EXCEEDED, reason: 'STREAM_IDLE' });
  t.regex(error.message, /nothing arrived for 0\.5 s: send all again/);
  t.deepEqual((await client.listPackages({})).packages, []);
  t.deepEqual(await readdir(join(folder, 'store', 'tmp')), []);
  const again = stream([header('p')], piecesOf(image(), mib), [end]);
  t.is((await client.storePackageFromStream(again)).package!.packageId, 'p');
});
