import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { ImageFormat, ImageRole, MapSource } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  Compression,
  PackageKind,
  RepositoryService,
  type StorePackageRequestSchema,
} from '../../../../gen/nfv/repository/v1/repository_pb.js';
import { repositoryPlugin } from '../../../../plugins/repository/plugin.ts';
import { createClient } from '../../../../sdk/client.ts';
import { Code } from '../../../../sdk/errors.ts';
import { noise, text } from '../../../support/cli/disk-images.ts';
import { eventually } from '../../../support/eventually.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { roleChannel, testKernel } from '../../../support/test-kernel.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const mib = 2 ** 20;

async function repository(t: ExecutionContext) {
  const folder = await tempFolder(t);
  const kernel = await testKernel(t, { roles: ['vnfm'] });
  await kernel.add(repositoryPlugin, { config: { folder: join(folder, 'store') } });
  await kernel.start();
  const client = createClient(RepositoryService, roleChannel(t, kernel, 'vnfm'));
  const fileAt = (file: string) => ({
    ...{ name: 'd', role: ImageRole.DISK },
    location: {
      case: 'localFile' as const,
      value: { path: join(folder, file), format: ImageFormat.RAW },
    },
  });
  const store = async (request: Partial<MessageInitShape<typeof StorePackageRequestSchema>>) => {
    const whole = { kind: PackageKind.IMAGES, packageId: 'p', ...request };
    for await (const { event } of client.storePackage(
      whole as MessageInitShape<typeof StorePackageRequestSchema>,
    )) {
      if (event.case === 'package') return event.value.images[0]!;
    }
    throw new Error('no package');
  };
  return { client, folder, fileAt, store };
}

test('StorePackage: an image beside its parent’s is compared with it, and only with a parent', async (t) => {
  const { folder, fileAt, store } = await repository(t);
  const bytes = Buffer.from(noise('image', 4 * mib));
  await writeFile(join(folder, 'older'), bytes);
  bytes[mib]! ^= 1;
  await writeFile(join(folder, 'newer'), bytes);
  await store({ packageId: 'first', images: [{ location: fileAt('older') }] });
  const images = [{ location: fileAt('newer'), parentLocation: fileAt('older') }];
  const made = await store({ packageId: 'second', parentPackageId: 'first', images });
  t.like(made, { mapSource: MapSource.PARENT_IMAGE, newBlocks: 1n, sampledBlocks: 64n });
  t.regex(made.mapReason, /compared with .*older, 64 of its blocks sampled/);
  const scanned = await store({ packageId: 'third', images: [{ location: fileAt('newer') }] });
  t.is(made.root, scanned.root);
  await throwsRpc(t, store({ packageId: 'fourth', images }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'PARENT_IMAGE_WITHOUT_PARENT',
  });
});

const encodings = [
  { compression: Compression.NONE },
  { compression: Compression.LZ4 },
  { compression: Compression.ZSTD, zstdLevel: 1 },
  { compression: Compression.ZSTD, zstdLevel: 19 },
];

test('StorePackage: the chosen compression is used, and changes no root', async (t) => {
  const stored: number[] = [];
  const roots = new Set<string>();
  for (const encoding of encodings) {
    const { folder, fileAt, store } = await repository(t);
    await writeFile(join(folder, 'image'), text('words', 2 * mib));
    const made = await store({ images: [{ location: fileAt('image') }], ...encoding });
    stored.push(Number(made.storedBytes));
    roots.add(made.root);
  }
  t.is(roots.size, 1);
  t.deepEqual(
    stored,
    stored.toSorted((a, b) => b - a),
  );
  t.is(new Set(stored).size, encodings.length, `${stored}`);
  const { folder, fileAt, store } = await repository(t);
  await writeFile(join(folder, 'image'), text('words', mib));
  const images = [{ location: fileAt('image') }];
  const refused = store({ images, compression: Compression.LZ4, zstdLevel: 3 });
  await throwsRpc(t, refused, { code: Code.INVALID_ARGUMENT, reason: 'FIELD_VIOLATION' });
});

test('StorePackage: a changed block is stored as a difference unless that is not wanted', async (t) => {
  const stored: bigint[] = [];
  for (const withoutDelta of [false, true]) {
    const { folder, fileAt, store } = await repository(t);
    const bytes = Buffer.from(noise('image', mib));
    await writeFile(join(folder, 'image'), bytes);
    const images = [{ location: fileAt('image') }];
    await store({ packageId: 'first', images });
    bytes[70_000]! ^= 1;
    await writeFile(join(folder, 'image'), bytes);
    const request = { packageId: 'second', parentPackageId: 'first', images, withoutDelta };
    stored.push((await store(request)).storedBytes);
  }
  t.true(stored[0]! < 8192n && stored[1]! > 65_536n, `${stored}`);
});

test('RestoreImages: an NBD export that held other bytes holds the image, and zeros beyond it', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const { client, folder, fileAt, store } = await repository(t);
  const bytes = Buffer.concat([noise('image', mib), Buffer.alloc(2 * mib), noise('end', mib)]);
  await writeFile(join(folder, 'image'), bytes);
  await store({ images: [{ location: fileAt('image') }] });
  await writeFile(join(folder, 'target'), noise('old', 5 * mib));
  const socketPath = join(folder, 'nbd.sock');
  const words = ['-t', '-k', socketPath, '-f', 'raw', '-x', 'disk', join(folder, 'target')];
  const server = spawn('qemu-nbd', words, { stdio: 'ignore' });
  t.teardown(() => server.kill());
  await eventually('qemu-nbd listens', () => existsSync(socketPath), 30_000);
  const address = { case: 'socketPath' as const, value: socketPath };
  const location = {
    ...{ name: 'd', role: ImageRole.DISK },
    location: { case: 'nbd' as const, value: { address, exportName: 'disk' } },
  };
  const targets = [{ imageName: 'd', location }];
  let restored = 0n;
  for await (const { event } of client.restoreImages({ packageId: 'p', targets })) {
    if (event.case === 'result') restored = event.value.restoredBytes;
  }
  t.is(restored, BigInt(bytes.length));
  const whole = Buffer.concat([bytes, Buffer.alloc(mib)]);
  t.true(whole.equals(await readFile(join(folder, 'target'))));
});
