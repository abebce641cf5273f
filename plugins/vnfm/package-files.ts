import { type DescMessage, fromJsonString, type MessageShape } from '@bufbuild/protobuf';
import { type VnfSnapshot, VnfSnapshotSchema } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfdSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { dataLoss, invalidArgument, RpcError } from '../../sdk/errors.ts';
import { findViolations } from '../../sdk/validation.ts';
import { withoutPlaces } from './capture-report.ts';
import type { Peers } from './peers.ts';
import { checkVnfd } from './vnfd/validate.ts';

/**
 * Reads the record of the VNF snapshot in a package. It came from elsewhere, so it is checked like
 * a request. INVALID_ARGUMENT with reason PACKAGE_INVALID, the file and what is wrong in it.
 */
export async function readSnapshotRecord(
  repository: Peers['repository'],
  packageId: string,
  signal: AbortSignal,
): Promise<VnfSnapshot> {
  const read = async <Desc extends DescMessage>(name: string, schema: Desc) => {
    const { content } = await repository.getPackageFile({ packageId, name }, { signal });
    return parse(packageId, name, content, schema);
  };
  const snapshot = await read('vnf-snapshot.json', VnfSnapshotSchema);
  const vnfd = await read('vnfd.json', VnfdSchema);
  try {
    checkVnfd(vnfd);
  } catch (thrown) {
    throw invalid(packageId, 'vnfd.json', RpcError.from(thrown).message);
  }
  checkParts(packageId, snapshot);
  for (const part of snapshot.vnfcSnapshots) {
    if (part.instanceSnapshot) part.instanceSnapshot = withoutPlaces(part.instanceSnapshot);
  }
  return { ...snapshot, vnfd };
}

function parse<Desc extends DescMessage>(
  packageId: string,
  name: string,
  content: Uint8Array,
  schema: Desc,
): MessageShape<Desc> {
  let message: MessageShape<Desc>;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(content);
    // What a newer release says more is no reason to refuse the package.
    message = fromJsonString(schema, text, { ignoreUnknownFields: true });
  } catch (thrown) {
    throw invalid(packageId, name, (thrown as Error).message);
  }
  const violation = findViolations(schema, message)[0];
  if (!violation) return message;
  throw invalid(packageId, name, `${violation.field}: ${violation.description}`);
}

const vnfcPattern = /^[a-z0-9][a-z0-9-]*$/;

/** The identifiers of parts become those of snapshots at the VIM. */
function checkParts(packageId: string, snapshot: VnfSnapshot): void {
  const seen = new Set<string>();
  snapshot.vnfcSnapshots.forEach(({ vnfcInstanceId, instanceSnapshot }, index) => {
    const path = `vnfcSnapshots[${index}]`;
    const fail = (text: string) => invalid(packageId, 'vnf-snapshot.json', `${path}${text}`);
    if (!vnfcPattern.test(vnfcInstanceId) || vnfcInstanceId.length > 66) {
      throw fail(`.vnfcInstanceId: "${vnfcInstanceId.slice(0, 80)}" is no VNFC instance`);
    }
    if (seen.has(vnfcInstanceId)) throw fail('.vnfcInstanceId: is given twice');
    if (!instanceSnapshot) throw fail('.instanceSnapshot: is missing');
    seen.add(vnfcInstanceId);
  });
  if (seen.size === 0)
    throw dataLoss('PACKAGE_EMPTY', `package "${packageId}" has no VNFC snapshot`);
}

function invalid(packageId: string, file: string, why: string): RpcError {
  return invalidArgument('PACKAGE_INVALID', `package "${packageId}": ${file}: ${why}`, {
    package: packageId,
    file,
  });
}
