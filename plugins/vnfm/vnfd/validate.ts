import type { Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { type FieldViolation, invalidArgument } from '../../../sdk/errors.ts';
import { componentViolations } from './components.ts';
import { snapshotDescriptorViolations } from './snapshot-descriptor.ts';

/**
 * What is wrong with a descriptor beyond the rules of its single fields: references that lead
 * nowhere, names given twice, sizes that are missing, orders that do not fit. Paths are those of
 * the JSON form, for example "vdu[1].virtualStorageDesc[0]". Empty when it is sound.
 */
export function vnfdViolations(vnfd: Vnfd): FieldViolation[] {
  return [...componentViolations(vnfd), ...snapshotDescriptorViolations(vnfd)];
}

/** Throws INVALID_ARGUMENT with reason VNFD_INVALID and one field violation for each fault. */
export function checkVnfd(vnfd: Vnfd): void {
  const violations = vnfdViolations(vnfd);
  const first = violations[0];
  if (!first) return;
  const more = violations.length > 1 ? `, and ${violations.length - 1} more` : '';
  const text = `VNFD "${vnfd.vnfdId}": ${first.field}: ${first.description}${more}`;
  throw invalidArgument(
    'VNFD_INVALID',
    text,
    { vnfd: vnfd.vnfdId, field: first.field },
    violations,
  );
}
