/** What the EM adds to VNF snapshots: kept with their records, and carried through packages. */
import { createHash } from 'node:crypto';
import type {
  EmDataFile,
  VnfSnapshot,
  VnfSnapshotInfo,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { dataLoss, invalidArgument, isRpcError, type RpcError } from '../../sdk/errors.ts';
import type { CollectionDefinition, Transaction } from '../../sdk/records/record-store.ts';
import type { Peers } from './peers.ts';
import { vnfSnapshots } from './records.ts';

/** Files of one snapshot: each is one of the 64 files that a package is composed of. */
export const emFilesMax = 32;
/** Bytes of one file: a record of the store. The rule in the proto says the same. */
export const emFileBytesMax = 4 * 1024 * 1024;
/** Bytes of all files of one snapshot: they pass to the repository in one message of 16 MiB. */
export const emDataBytesMax = 8 * 1024 * 1024;

/** The contents, as they are. They stand beside the records that list them, in one database. */
const emContents: CollectionDefinition<Uint8Array> = {
  name: 'em-data',
  codec: { encode: (bytes) => bytes, decode: (bytes) => bytes },
};

/** A name has no "/", so no two files share a key. */
const key = (vnfSnapshotInfoId: string, name: string) => `${vnfSnapshotInfoId}/${name}`;

export const sha256 = (content: Uint8Array): string =>
  createHash('sha256').update(content).digest('hex');

/** Why these bytes are not the file that was recorded, or undefined. */
function problemOf({ sizeBytes, checksum }: EmDataFile, content: Uint8Array): string | undefined {
  if (BigInt(content.length) !== sizeBytes)
    return `${content.length} bytes instead of ${sizeBytes}`;
  const { algorithm = '', hash } = checksum ?? {};
  if (algorithm !== 'SHA-256') return `its checksum is "${algorithm}", not SHA-256`;
  return sha256(content) === hash ? undefined : 'its SHA-256 is another';
}

/** Keeps contents, in the transaction that records their files. */
export async function keepContents(
  tx: Transaction,
  vnfSnapshotInfoId: string,
  contents: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  for (const [name, content] of contents) {
    await tx.collection(emContents).put(key(vnfSnapshotInfoId, name), content);
  }
}

/** The content of a recorded file. DATA_LOSS with reason EM_DATA_DAMAGED. */
export async function contentOf(
  tx: Transaction,
  vnfSnapshotInfoId: string,
  file: EmDataFile,
): Promise<Uint8Array> {
  const found = await tx.collection(emContents).get(key(vnfSnapshotInfoId, file.name));
  const problem = found ? problemOf(file, found.value) : 'it is gone';
  if (found && problem === undefined) return found.value;
  const text = `EM data "${file.name}" of VNF snapshot "${vnfSnapshotInfoId}" is damaged: ${problem}`;
  const where = { vnf_snapshot_info_id: vnfSnapshotInfoId, name: file.name };
  throw dataLoss('EM_DATA_DAMAGED', text, where);
}

export async function forgetContent(tx: Transaction, id: string, name: string): Promise<void> {
  await tx.collection(emContents).delete(key(id, name));
}

/** Deletes a VNF snapshot's record and what the EM added to it: the one way to do it. */
export async function deleteSnapshotRecord(tx: Transaction, id: string): Promise<void> {
  const found = await tx.collection(vnfSnapshots).get(id);
  for (const { name } of found?.value.vnfSnapshot?.emData ?? []) await forgetContent(tx, id, name);
  await tx.collection(vnfSnapshots).delete(id);
}

/** What would be too much for one snapshot, or undefined. */
export function excessOf(files: readonly EmDataFile[]): string | undefined {
  const bytes = files.reduce((sum, file) => sum + Number(file.sizeBytes), 0);
  if (files.length > emFilesMax) return `${files.length} files, and at most ${emFilesMax} are kept`;
  if (bytes > emDataBytesMax) return `${bytes} bytes, and at most ${emDataBytesMax} are kept`;
  return undefined;
}

/** The suffix keeps a name apart from the package's own files and from an archive's manifest. */
const fileName = (name: string) => `${name}.em-data`;

/** The files of a snapshot as files of a package. */
export async function packageFilesOf(tx: Transaction, info: VnfSnapshotInfo) {
  const files: { name: string; content: Uint8Array }[] = [];
  for (const file of info.vnfSnapshot?.emData ?? []) {
    files.push({ name: fileName(file.name), content: await contentOf(tx, info.id, file) });
  }
  return files;
}

/**
 * Reads the EM's files out of a package, which came from elsewhere. INVALID_ARGUMENT with reason
 * PACKAGE_INVALID, the file and what is wrong with it.
 */
export async function readEmContents(
  repository: Peers['repository'],
  packageId: string,
  { emData }: Pick<VnfSnapshot, 'emData'>,
  signal: AbortSignal,
): Promise<Map<string, Uint8Array>> {
  const excess = excessOf(emData);
  if (excess) throw invalid(packageId, 'vnf-snapshot.json', `emData: ${excess}`);
  const contents = new Map<string, Uint8Array>();
  for (const file of emData) {
    const name = fileName(file.name);
    if (contents.has(file.name)) throw invalid(packageId, name, 'it is listed twice');
    const content = await read(repository, packageId, name, signal);
    const problem = content ? problemOf(file, content) : 'it is missing';
    if (!content || problem) throw invalid(packageId, name, `${problem}`);
    contents.set(file.name, content);
  }
  return contents;
}

async function read(
  repository: Peers['repository'],
  packageId: string,
  name: string,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  try {
    return (await repository.getPackageFile({ packageId, name }, { signal })).content;
  } catch (thrown) {
    if (isRpcError(thrown, 'FILE_NOT_FOUND')) return undefined;
    throw thrown;
  }
}

function invalid(packageId: string, file: string, why: string): RpcError {
  return invalidArgument('PACKAGE_INVALID', `package "${packageId}": ${file}: ${why}`, {
    package: packageId,
    file,
  });
}
