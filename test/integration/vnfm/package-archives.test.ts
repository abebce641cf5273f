import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Site } from '../../../app/demo/site.ts';
import {
  ArchiveState,
  PackageArchiveService,
} from '../../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { VnfSnapshotPackageService } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { uploadOf } from '../../support/archive-upload.ts';
import { noise } from '../../support/cli/disk-images.ts';
import { eventually } from '../../support/eventually.ts';
import { fillUp, smallFileSystem } from '../../support/small-file-system.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const mebibyte = 2 ** 20;
const deadline = { deadlineMs: 60_000 };

/** A site, and an OSS/BSS that calls it over gRPC. */
async function start(t: ExecutionContext, vnfm: object = {}, parent?: string) {
  const folder = join(parent ?? (await tempFolder(t)), 's');
  const configuration = { version: 1 as const, drivers: ['wasmvm'], vnfm };
  let site = await Site.start('test', folder, configuration);
  t.teardown(() => site.stop());
  const shelf = join(folder, 'plugins', 'vnfm', 'archives');
  return {
    shelf,
    archives: () => site.client(PackageArchiveService, 'oss'),
    packages: () => site.client(VnfSnapshotPackageService, 'oss'),
    killAndStart: async () => {
      await site.kill();
      site = await Site.start('test', folder, configuration);
    },
  };
}

test.serial('an upload goes on after kill -9 of the server, where it says it is', async (t) => {
  t.timeout(120_000);
  const system = await start(t);
  const bytes = noise('big', 40 * mebibyte);
  const hold = Promise.withResolvers<void>();
  const stopAt = 24 * mebibyte;
  const options = { stopAt, pause: hold.promise };
  const broken = system
    .archives()
    .uploadPackageArchive(uploadOf('a', bytes, 0, options), deadline)
    .then(
      () => undefined,
      (error: Error) => error,
    );
  await eventually('a checkpoint', async () => {
    const { archives } = await system.archives().queryPackageArchives({});
    return archives.some(({ receivedBytes }) => receivedBytes > 0n);
  });
  await system.killAndStart();
  hold.resolve();
  t.truthy(await broken);
  const { archive } = await system.archives().getPackageArchive({ archiveId: 'a' });
  const offset = Number(archive!.receivedBytes);
  t.true(offset >= 16 * mebibyte && offset <= stopAt, `${offset}`);
  t.true((await stat(join(system.shelf, 'a.zip'))).size >= offset, 'it does not promise too much');
  const rest = uploadOf('a', bytes, offset);
  const whole = await system.archives().uploadPackageArchive(rest, deadline);
  t.is(whole.archive!.state, ArchiveState.WHOLE);
  const pieces: Uint8Array[] = [];
  const request = { archiveId: 'a', offset: 39n * BigInt(mebibyte) };
  for await (const { part } of system.archives().downloadPackageArchive(request)) {
    if (part.case === 'content') pieces.push(part.value);
  }
  t.true(Buffer.concat(pieces).equals(bytes.subarray(39 * mebibyte)));
});

test.serial('an upload that does not fit is refused, and says what is wrong', async (t) => {
  t.timeout(120_000);
  const limits = { archiveBytesMax: mebibyte, archiveIdleSeconds: 1 };
  const { archives, packages, shelf } = await start(t, limits);
  const bytes = noise('a', 300_000);
  const send = (...given: Parameters<typeof uploadOf>) =>
    archives().uploadPackageArchive(uploadOf(...given), deadline);
  const { INVALID_ARGUMENT, FAILED_PRECONDITION, ALREADY_EXISTS } = Code;

  const large = await throwsRpc(t, send('big', bytes, 0, { sizeBytes: 2n ** 40n }), {
    ...{ code: Code.RESOURCE_EXHAUSTED, reason: 'ARCHIVE_TOO_LARGE' },
  });
  t.is(large.metadata.limit_bytes, String(mebibyte));
  await throwsRpc(t, send('a', bytes, 0, { sha256: '0'.repeat(64) }), {
    ...{ code: Code.DATA_LOSS, reason: 'CHECKSUM_MISMATCH' },
  });
  t.deepEqual(await readdir(shelf), [], 'nothing is kept of what is something else');

  await throwsRpc(t, send('a', bytes, 0, { stopAt: 100_000 }), {
    ...{ code: INVALID_ARGUMENT, reason: 'STREAM_INCOMPLETE' },
  });
  const wrong = await throwsRpc(t, send('a', bytes, 65_536), {
    ...{ code: FAILED_PRECONDITION, reason: 'OFFSET_MISMATCH' },
  });
  t.is(wrong.metadata.offset, '100000');
  await throwsRpc(t, send('a', noise('other', 300_000), 100_000), {
    ...{ code: ALREADY_EXISTS, reason: 'ARCHIVE_EXISTS' },
  });
  await throwsRpc(t, packages().importVnfSnapshotPackage({ location: 'stream:a' }), {
    ...{ code: FAILED_PRECONDITION, reason: 'ARCHIVE_STATE' },
  });

  const hold = Promise.withResolvers<void>();
  const silent = send('a', bytes, 100_000, { stopAt: 200_000, pause: hold.promise });
  silent.catch(() => {});
  await eventually('the second upload is refused', async () => {
    const error = await send('a', bytes, 100_000).catch((thrown) => thrown);
    return error.reason === 'ARCHIVE_BUSY';
  });
  await throwsRpc(t, silent, { code: Code.DEADLINE_EXCEEDED, reason: 'STREAM_IDLE' });
  hold.resolve();
  const { archive } = await archives().getPackageArchive({ archiveId: 'a' });
  t.is(archive!.receivedBytes, 200_000n, 'what came before the silence is kept');
  await throwsRpc(t, send('a', bytes.subarray(0, 200_000), 200_000, { sizeBytes: 300_000n }), {
    ...{ code: ALREADY_EXISTS, reason: 'ARCHIVE_EXISTS' },
  });
  await send('a', bytes, 200_000);
  const { archives: listed } = await archives().queryPackageArchives({
    filter: '(eq,state,WHOLE)',
  });
  t.deepEqual(
    listed.map(({ id }) => id),
    ['a'],
  );
  await archives().deletePackageArchive({ archiveId: 'a' });
  t.deepEqual(await readdir(shelf), []);
});

test.serial('an upload that is abandoned is taken away after the configured time', async (t) => {
  t.timeout(60_000);
  const { archives, shelf } = await start(t, { archiveKeepSeconds: 1 });
  const bytes = noise('a', 300_000);
  const half = archives().uploadPackageArchive(
    uploadOf('a', bytes, 0, { stopAt: 65_536 }),
    deadline,
  );
  await throwsRpc(t, half, { code: Code.INVALID_ARGUMENT, reason: 'STREAM_INCOMPLETE' });
  await eventually('it is gone', async () => (await readdir(shelf)).length === 0);
  await throwsRpc(t, archives().getPackageArchive({ archiveId: 'a' }), {
    ...{ code: Code.NOT_FOUND, reason: 'ARCHIVE_UNKNOWN' },
  });
});

test.serial(
  'a full disk ends an upload with what was needed, and keeps nothing of it',
  async (t) => {
    t.timeout(120_000);
    const small = await smallFileSystem(t, 48 * mebibyte);
    if (small === undefined) return;
    const { archives, shelf } = await start(t, {}, small);
    const full = { code: Code.RESOURCE_EXHAUSTED, reason: 'ARCHIVE_SPACE' };
    const bytes = noise('a', 24 * mebibyte);
    const upload = (...given: Parameters<typeof uploadOf>) =>
      archives().uploadPackageArchive(uploadOf(...given), deadline);
    const early = await throwsRpc(t, upload('a', bytes, 0, { sizeBytes: 2n ** 35n }), full);
    t.is(early.metadata.needed_bytes, String(2n ** 35n), 'before a byte is taken');
    const requests = async function* () {
      let count = 0;
      for await (const request of uploadOf('a', bytes)) {
        yield request;
        if (++count === 100) {
          // The server is some messages behind.
          const ballast = await fillUp(join(small, 'ballast'));
          t.teardown(ballast);
        }
      }
    };
    const late = await throwsRpc(t, archives().uploadPackageArchive(requests(), deadline), full);
    t.true(Number(late.metadata.needed_bytes) > 0);
    t.deepEqual(await readdir(shelf), []);
  },
);
