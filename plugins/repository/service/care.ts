import type {
  CollectGarbageRequest,
  VerifyPackagesRequest,
} from '../../../gen/nfv/repository/v1/repository_pb.js';
import type { HandlerContext } from '../../../sdk/server.ts';
import type { Damage, Store } from '../store/store.ts';
import { withProgress } from './progress.ts';

/** Reads packages back; damage goes out as it is known, the counts at the end. */
export async function* verifyPackages(
  store: Store,
  request: VerifyPackagesRequest,
  { signal }: HandlerContext,
) {
  const sample = request.sample === 0 ? 1 : request.sample;
  const total = { packages: 0n, blocks: 0n, damaged: 0n };
  const ids = request.packageIds.length > 0 ? request.packageIds : [undefined];
  for (const packageId of ids) {
    const work = withProgress(signal, async (report, workSignal) => {
      const value = await store.verify({
        sample,
        ...(packageId !== undefined && { packageId }),
        onProgress: (progress) => report({ ...progress, activity: packageId ?? 'all packages' }),
        signal: workSignal,
      });
      return { case: 'report' as const, value };
    });
    for await (const { event } of work) {
      if (event.case === 'progress') {
        yield { event };
        continue;
      }
      const { damages, packages, checkedEntries, damageCount } = event.value;
      for (const damage of damages) {
        yield { event: { case: 'damage' as const, value: damageOf(damage) } };
      }
      total.packages += BigInt(packages);
      total.blocks += BigInt(checkedEntries);
      total.damaged += BigInt(damageCount);
    }
  }
  yield { event: { case: 'result' as const, value: total } };
}

function damageOf(damage: Damage) {
  return {
    packageId: damage.packageId ?? '',
    imageName: damage.image ?? '',
    offset: BigInt(damage.offset ?? 0),
    object: damage.path,
    detail: `at byte ${damage.objectOffset}: ${damage.problem}`,
  };
}

/** Frees what no package needs. */
export async function* collectGarbage(
  store: Store,
  _request: CollectGarbageRequest,
  { signal }: HandlerContext,
) {
  const work = withProgress(signal, async (_report, workSignal) => {
    const report = await store.gc({ signal: workSignal });
    return {
      case: 'result' as const,
      value: {
        freedBytes: BigInt(report.freedBytes),
        waitingBytes: BigInt(report.waitingBytes),
        deletedSegments: BigInt(report.deletedSegments),
        rewrittenSegments: BigInt(report.rewrittenSegments),
      },
    };
  });
  for await (const { event } of work) yield { event };
}
