import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { CallIdentity } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { describeArchive } from '../archive/import.ts';
import { sweepPartials } from '../targets/new-file.ts';

/** The key in an archive's metadata of the call that wrote it. */
const callKey = 'exported_by';

/** What an archive says of the call that writes it, so that a repeat of the call knows it again. */
export function exportedBy(call: CallIdentity | undefined): Record<string, string> {
  return call ? { [callKey]: `${call.operationId}/${call.stepId}` } : {};
}

/**
 * The outcome of the same call, when an earlier process died after the archive was whole and before
 * it could say so. Anything else at the path is none of ours.
 */
export async function exportedBefore(path: string, call: CallIdentity | undefined) {
  if (!call) return undefined;
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return undefined;
  const about = await describeArchive(path).catch(() => undefined);
  if (about?.metadata[callKey] !== exportedBy(call)[callKey]) return undefined;
  // Its second name, if the process died between the two.
  await sweepPartials(dirname(path), basename(path));
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return {
    path,
    sizeBytes: BigInt(found.size),
    checksum: { algorithm: 'SHA-256', hash: hash.digest('hex') },
    provenBlocks: 0n,
  };
}
