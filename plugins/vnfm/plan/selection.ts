import type { Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { invalidArgument, type RpcError } from '../../../sdk/errors.ts';
import type { Component, Disk, Situation } from './situation.ts';

/**
 * The components of a snapshot: those that the descriptor includes (Vnfsd.003) and the request
 * wants.
 */
export function selectComponents(
  { vnfd, components }: Situation,
  wanted: readonly string[],
): { selected: Component[]; excluded: string[] } {
  const included = vnfd.snapshotDescriptor?.includedVduIds ?? [];
  const isIncluded = ({ vduId }: Component) => included.length === 0 || included.includes(vduId);
  wanted.forEach((id, index) => {
    const component = components.find((candidate) => candidate.vnfcInstanceId === id);
    if (!component) throw unknownVnfc(id, index, components);
    if (!isIncluded(component)) {
      throw contradiction(vnfd, 'includedVduIds', id, included.join(', '));
    }
  });
  const excluded: string[] = [];
  const selected = components.filter((component) => {
    const { vnfcInstanceId } = component;
    if (!isIncluded(component)) {
      excluded.push(`${vnfcInstanceId}: the descriptor does not include it`);
      return false;
    }
    if (wanted.length > 0 && !wanted.includes(vnfcInstanceId)) {
      excluded.push(`${vnfcInstanceId}: the request does not include it`);
      return false;
    }
    return true;
  });
  return { selected, excluded };
}

/**
 * The disks of a component that are captured (Vnfsd.016); independent ones never are. Adds to
 * `excluded`.
 */
export function selectDisks(vnfd: Vnfd, component: Component, excluded: string[]): Disk[] {
  const { vduId, vnfcInstanceId } = component;
  const descriptor = vnfd.snapshotDescriptor?.vnfc.find((vnfc) => vnfc.vduId === vduId);
  const included = descriptor?.includedStorageIds ?? [];
  return component.disks.filter(({ name }) => {
    const desc = vnfd.virtualStorageDesc.find((candidate) => candidate.id === name);
    if (desc?.independent) {
      excluded.push(`${vnfcInstanceId}/${name}: independent`);
      return false;
    }
    if (included.length > 0 && !included.includes(name)) {
      excluded.push(`${vnfcInstanceId}/${name}: the descriptor does not include it`);
      return false;
    }
    return true;
  });
}

/** A request that asks for what the descriptor has settled otherwise. */
export function contradiction(vnfd: Vnfd, what: string, wished: string, fixed: string): RpcError {
  return invalidArgument(
    'DESCRIPTOR_CONTRADICTION',
    `the request asks for ${what} ${wished}, but VNFD "${vnfd.vnfdId}" settles ${fixed}; leave it out`,
    { vnfd: vnfd.vnfdId, field: what, wished, fixed },
  );
}

function unknownVnfc(id: string, index: number, components: readonly Component[]): RpcError {
  const known = components.map((component) => component.vnfcInstanceId).join(', ');
  const text = `vnfc_instance_ids[${index}]: the VNF has no VNFC instance "${id}"; it has: ${known}`;
  return invalidArgument('VNFC_UNKNOWN', text, { vnfc_instance_id: id, known }, [
    { field: `vnfc_instance_ids[${index}]`, description: `"${id}" is no VNFC instance of the VNF` },
  ]);
}
