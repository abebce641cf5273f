import { MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import type {
  ImageSource,
  RestoreImagesRequest,
  StorePackageRequest,
} from '../../../gen/nfv/repository/v1/repository_pb.js';
import type { HandlerContext } from '../../../sdk/server.ts';
import type { BlockSource } from '../sources/source.ts';
import type { ImageInput, Store } from '../store/store.ts';
import type { BlockTarget } from '../targets/target.ts';
import { createTarget, openLocation } from './locations.ts';
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
        inputs.push(imageInput(image, source, baseOf));
      }
      const { manifest } = await store.pack(inputs, {
        packageId: request.packageId,
        name: request.name,
        kind: storeKind(request.kind),
        labels: request.labels,
        ...(request.parentPackageId !== '' && { parent: request.parentPackageId }),
        ...(request.samples !== undefined && { samples: request.samples }),
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

/** The snapshot that each image of the parent was read from. */
async function parentSnapshots(store: Store, parentId: string): Promise<Map<string, string>> {
  if (parentId === '') return new Map();
  const { images } = await store.manifest(parentId);
  return new Map(images.map((image) => [image.name, image.sourceSnapshotId]));
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
    const sizeOf = new Map(images.map((image) => [image.name, image.logicalBytes]));
    const targets = new Map<string, BlockTarget>();
    let totalBytes = 0;
    try {
      for (const { imageName, location } of request.targets) {
        const size = sizeOf.get(imageName) ?? 0;
        totalBytes += size;
        targets.set(imageName, await createTarget(location!, size));
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
