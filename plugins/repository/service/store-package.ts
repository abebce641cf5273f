import { MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  Compression,
  type ImageSource,
  type RestoreImagesRequest,
  type StorePackageRequest,
} from '../../../gen/nfv/repository/v1/repository_pb.js';
import { invalidArgument, isRpcError } from '../../../sdk/errors.ts';
import type { HandlerContext } from '../../../sdk/server.ts';
import { changesOf } from '../sources/changes-of.ts';
import type { BlockSource, ChangeTrackingSource } from '../sources/source.ts';
import { zstdLevelDefault } from '../store/limits.ts';
import type { ImageInput, PackOptions, Store } from '../store/store.ts';
import type { BlockTarget } from '../targets/target.ts';
import { createTarget, openLocation, openTracked } from './locations.ts';
import { withProgress } from './progress.ts';
import { mapOriginLabel, packageInfo, storeKind, storeRole } from './records.ts';

/** Reads the images of a request into a new package. */
export async function* storePackage(
  store: Store,
  request: StorePackageRequest,
  { signal }: HandlerContext,
) {
  yield* withProgress(signal, async (report, workSignal) => {
    const sources: BlockSource[] = [];
    try {
      const baseOf = await parentSnapshots(store, request.parentPackageId);
      const inputs: ImageInput[] = [];
      for (const image of request.images) {
        const source = await openLocation(image.location!);
        sources.push(source);
        const input = imageInput(image, source, baseOf);
        if (input.changed && hasOwnMap(image)) await takeOwnMap(image, input);
        if (image.parentLocation && input.changed === undefined) {
          input.older = await openLocation(image.parentLocation);
          sources.push(input.older);
        }
        inputs.push(input);
      }
      const { manifest } = await store.pack(inputs, {
        packageId: request.packageId,
        name: request.name,
        kind: storeKind(request.kind),
        labels: request.labels,
        ...(request.parentPackageId !== '' && { parent: request.parentPackageId }),
        ...(request.samples !== undefined && { samples: request.samples }),
        compress: compressionOf(request),
        delta: !request.withoutDelta,
        onProgress: ({ image, doneBytes, totalBytes }) =>
          report({ doneBytes, totalBytes, activity: image }),
        signal: workSignal,
      });
      return { case: 'package' as const, value: packageInfo(manifest) };
    } finally {
      for (const source of sources) await source.close();
    }
  });
}

/** FIELD_VIOLATION (INVALID_ARGUMENT) for a level of what has none. */
export function compressionOf({
  compression,
  zstdLevel,
}: Pick<StorePackageRequest, 'compression' | 'zstdLevel'>): NonNullable<PackOptions['compress']> {
  if (compression === Compression.ZSTD) return { zstdLevel: zstdLevel ?? zstdLevelDefault };
  if (zstdLevel === undefined) return compression !== Compression.NONE;
  const problem = 'must be absent unless the compression is zstd';
  throw invalidArgument('FIELD_VIOLATION', `zstd_level ${problem}`, { field: 'zstd_level' }, [
    { field: 'zstd_level', description: problem },
  ]);
}

/** The snapshot that each image of the parent was read from. */
async function parentSnapshots(store: Store, parentId: string): Promise<Map<string, string>> {
  if (parentId === '') return new Map();
  const { images } = await store.manifest(parentId);
  return new Map(images.map((image) => [image.name, image.sourceSnapshotId]));
}

/** A map without extents whose mechanism is a dirty bitmap: the export itself has it. */
const hasOwnMap = ({ changedMap }: ImageSource): boolean =>
  changedMap?.source === MapSource.DIRTY_BITMAP && changedMap.extents.length === 0;

/** Reads the map of an image from its export. One that is lost leads to a scan, with the reason. */
async function takeOwnMap({ location }: ImageSource, input: ImageInput): Promise<void> {
  let tracked: ChangeTrackingSource | undefined;
  try {
    tracked = await openTracked(location!);
    if (tracked) input.changed = (await changesOf(tracked)).changed;
  } catch (error) {
    if (!isRpcError(error, 'NBD_CONTEXT_MISSING')) throw error;
    delete input.changed;
    input.noMapReason = error.message;
  } finally {
    await tracked?.close();
  }
}

/** A map counts only when it is relative to the very snapshot that the parent's image was read from. */
function imageInput(
  image: ImageSource,
  source: BlockSource,
  baseOf: Map<string, string>,
): ImageInput {
  const { name, role } = image.location!;
  const map = image.changedMap;
  const fits = map !== undefined && baseOf.get(name) === map.baseSnapshotId;
  return {
    name,
    source,
    role: storeRole(role),
    sourceSnapshotId: image.sourceSnapshotId,
    // A snapshot never changes, whatever file or export it is read through this time.
    ...(image.sourceSnapshotId !== '' && { fingerprint: `snapshot ${image.sourceSnapshotId}` }),
    ...(fits && {
      changed: map.extents.map(({ start, length }) => ({
        start: Number(start),
        length: Number(length),
      })),
      changedOrigin: MapSource[map.source] ?? 'UNSPECIFIED',
      labels: { [mapOriginLabel]: MapSource[map.source] ?? '' },
    }),
    ...(!fits && { noMapReason: noMapReason(image, baseOf.get(name)) }),
  };
}

function noMapReason(image: ImageSource, base: string | undefined): string {
  if (image.noMapReason !== '') return image.noMapReason;
  if (!image.changedMap) return 'the driver gave no map';
  return `the map is relative to snapshot ${image.changedMap.baseSnapshotId}, the parent to ${base ?? 'none'}`;
}

/** Writes images of a package to the locations of a request. */
export async function* restoreImages(
  store: Store,
  request: RestoreImagesRequest,
  { signal }: HandlerContext,
) {
  yield* withProgress(signal, async (report, workSignal) => {
    const { images } = await store.manifest(request.packageId);
    const imageOf = new Map(images.map((image) => [image.name, image]));
    const targets = new Map<string, BlockTarget>();
    let totalBytes = 0;
    try {
      for (const { imageName, location } of request.targets) {
        const image = imageOf.get(imageName) ?? { root: '', logicalBytes: 0 };
        totalBytes += image.logicalBytes;
        targets.set(imageName, await createTarget(location!, image));
      }
    } catch (error) {
      for (const target of targets.values()) await target.abort();
      throw error;
    }
    let before = 0;
    let current = '';
    let last = 0;
    const results = await store.unpack(request.packageId, targets, {
      signal: workSignal,
      onProgress: ({ image, doneBytes }) => {
        if (image !== current) before += last;
        current = image;
        last = doneBytes;
        report({ doneBytes: before + doneBytes, totalBytes, activity: image });
      },
    });
    return {
      case: 'result' as const,
      value: {
        restoredBytes: BigInt(results.reduce((sum, item) => sum + item.logicalBytes, 0)),
        writtenBytes: BigInt(results.reduce((sum, item) => sum + item.writtenBytes, 0)),
      },
    };
  });
}
