import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { ImageFormat, ImageRole } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  Compression,
  PackageKind,
  RepositoryService,
} from '../../../../gen/nfv/repository/v1/repository_pb.js';
import { createClient } from '../../../../sdk/client.ts';
import { Code, isRpcError } from '../../../../sdk/errors.ts';
import { noise } from '../../../support/cli/disk-images.ts';
import { eventually } from '../../../support/eventually.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { roleChannel, testKernel } from '../../../support/test-kernel.ts';

const program = join(import.meta.dirname, 'repository-process.ts');
const imageBytes = 192 * 1024 * 1024;

const fileAt = (path: string) => ({
  name: 'd',
  role: ImageRole.DISK,
  location: { case: 'localFile' as const, value: { path, format: ImageFormat.RAW } },
});

test('repository: killed at every checkpoint of a package, it goes on from there until the package is whole', async (t) => {
  t.timeout(240_000);
  const folder = await tempFolder(t);
  const path = join(folder, 'image');
  // Letters of equal likelihood: slow to compress well, so that there are checkpoints.
  await writeFile(path, Buffer.from(noise('service', imageBytes * 0.75)).toString('base64'));
  const kernel = await testKernel(t, { roles: ['vnfm'] });
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const config = { folder: join(folder, 'store') };
  await kernel.launch({ instanceId: 'repository', role: 'repository', command, config });
  await kernel.start();
  const client = createClient(RepositoryService, roleChannel(t, kernel, 'vnfm'));

  /** Where it began in bytes, or undefined when nobody answered; `isWhole` when it came to its end. */
  const attempt = async () => {
    const request = {
      packageId: 'p',
      kind: PackageKind.IMAGES,
      compression: Compression.ZSTD,
      zstdLevel: 19,
      images: [{ location: fileAt(path) }],
    };
    let beganAt: number | undefined;
    try {
      for await (const { event } of client.storePackage(request)) {
        if (event.case === 'progress') beganAt ??= Number(event.value.doneBytes);
        if (event.case === 'package') return { beganAt, isWhole: true };
      }
    } catch (error) {
      if (!isRpcError(error) || error.code !== Code.UNAVAILABLE) throw error;
    }
    return { beganAt, isWhole: false };
  };

  const began: number[] = [];
  await eventually(
    'the package is whole',
    async () => {
      const { beganAt, isWhole } = await attempt();
      if (beganAt !== undefined) began.push(beganAt);
      return isWhole;
    },
    200_000,
  );
  t.log(`it began at ${began.join(', ')} of ${imageBytes} bytes`);
  t.true(began.length >= 3, 'it was killed twice at least');
  t.true(
    began.slice(1).every((at, index) => at > began[index]!),
    'it never went back',
  );

  const target = join(folder, 'back');
  const targets = [{ imageName: 'd', location: fileAt(target) }];
  for await (const _ of client.restoreImages({ packageId: 'p', targets }));
  t.true((await readFile(target)).equals(await readFile(path)));
  const { packages } = await client.listPackages({});
  t.is(packages.length, 1);
});
