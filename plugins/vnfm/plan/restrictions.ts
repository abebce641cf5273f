/** Legal and regulatory restrictions of a descriptor (GR NFV-TST 005 clause 6.1.1). */
import type { DataRestriction, Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';

function concerns({ vduIds }: DataRestriction, vduId: string): boolean {
  return vduIds.length === 0 || vduIds.includes(vduId);
}

/** Why the memory of a component must not be captured; undefined when it may. */
export function memoryRestriction(vnfd: Vnfd, vduId: string): string | undefined {
  const all = vnfd.snapshotDescriptor?.restrictions ?? [];
  return all.find((each) => each.noMemory && concerns(each, vduId))?.reason;
}

/**
 * Refuses to let parts of a VNF leave. FAILED_PRECONDITION with reason EXPORT_RESTRICTED and the
 * restriction's own reason.
 */
export function checkExport(vnfd: Vnfd | undefined, vduIds: readonly string[]): void {
  const all = vnfd?.snapshotDescriptor?.restrictions ?? [];
  const found = all.find((each) => each.noExport && vduIds.some((vdu) => concerns(each, vdu)));
  if (found === undefined) return;
  const text = `VNFD "${vnfd!.vnfdId}" forbids to export this package: ${found.reason}`;
  throw failedPrecondition('EXPORT_RESTRICTED', text, { vnfd: vnfd!.vnfdId });
}

/** What belongs to the VNF's state and is in no snapshot, in words. */
export function outside({ snapshotDescriptor }: Vnfd): string[] {
  return (snapshotDescriptor?.externalData ?? []).map(
    ({ name, description }) => `${name}: kept outside the VNF${description && `: ${description}`}`,
  );
}
