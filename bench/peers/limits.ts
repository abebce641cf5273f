/** The core without a package around it: what no package by the same kernels on the same machine can be faster than. */
import type { Contender } from '../types.ts';

function limit(id: string, what: string, args: string): Contender {
  return {
    id,
    title: `the core alone: ${what}`,
    isOurs: false,
    isLimit: true,
    needs: [],
    run: `"$NODE" "$BENCH/limit.ts" ${args}`,
  };
}

export const packLimit = limit('limit', 'reads, BLAKE3 and LZ4', 'pack "$IMAGE"');
export const oneWorkerLimit = limit(
  'limit-1-worker',
  'the same, 1 worker',
  'pack "$IMAGE" --workers 1',
);
export const hashLimit = limit('limit', 'reads and BLAKE3', 'hash "$NEXT"');
export const compareLimit = limit(
  'limit-parent-image',
  'reads of both and the comparison',
  'compare "$NEXT" "$IMAGE"',
);
