/** Sends a part of an image to a repository and waits to be killed. Prints "sent" by then. */
import { ImageRole } from '../../gen/nfv/common/v1/common_pb.js';
import { PackageKind, RepositoryService } from '../../gen/nfv/repository/v1/repository_pb.js';
import { createClient } from '../../sdk/client.ts';
import { openChannel } from '../../sdk/transport/grpc-channel.ts';

const [address = '', packageId = ''] = process.argv.slice(2);
const mib = 2 ** 20;

async function* parts() {
  const image = { name: 'd', role: ImageRole.DISK, logicalBytes: BigInt(64 * mib) };
  const value = { packageId, kind: PackageKind.IMAGES, images: [image] };
  yield { part: { case: 'package' as const, value } };
  for (let at = 0; at < 32; at++) {
    const content = crypto.getRandomValues(new Uint8Array(65536));
    yield { part: { case: 'piece' as const, value: { offset: BigInt(at * mib), content } } };
  }
  console.log('sent');
  await new Promise((resolve) => setTimeout(resolve, 2 ** 30));
}

await createClient(RepositoryService, openChannel({ address })).storePackageFromStream(parts(), {
  deadlineMs: 600_000,
});
