import type { DescMethod } from '@bufbuild/protobuf';
import { permissionDenied, type RpcError } from '../../sdk/errors.ts';
import { exposuresOf, methodPath } from '../../sdk/services.ts';

/** Stands for every authenticated role among the consumers of an exposure. */
const everyRole = '*';

/**
 * The reference points on which a caller's role may call the method at a producer's role; none:
 * refused.
 */
export function referencePoints(method: DescMethod, producer: string, consumer: string): string[] {
  return exposuresOf(method)
    .filter((exposure) => exposure.producer === producer)
    .filter(({ consumers }) => consumers.includes(everyRole) || consumers.includes(consumer))
    .map((exposure) => exposure.referencePoint);
}

/**
 * The refusal of a call; it names the reference points on which the method is exposed, and to whom.
 */
export function notExposed(method: DescMethod, role: string): RpcError {
  const path = methodPath(method);
  const points = exposuresOf(method).map(
    ({ referencePoint, producer, consumers }) =>
      `${referencePoint} (${consumers.join(', ') || 'nobody'} at ${producer})`,
  );
  const where = points.length > 0 ? `on ${points.join('; ')}` : 'on no reference point';
  return permissionDenied(
    'NOT_EXPOSED',
    `role ${role} may not call ${path}: it is exposed ${where}`,
    {
      role,
      method: path,
      reference_points: exposuresOf(method)
        .map(({ referencePoint }) => referencePoint)
        .join(', '),
    },
  );
}
