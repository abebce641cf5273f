import type {
  StorePackageFromStreamRequest,
  StreamedPackage,
} from '../../../gen/nfv/repository/v1/repository_pb.js';
import { deadlineExceeded, invalidArgument } from '../../../sdk/errors.ts';
import type { HandlerContext } from '../../../sdk/server.ts';
import { streamIdleMsMax } from '../sources/limits.ts';
import { PieceReader, type StreamPiece, StreamSource } from '../sources/stream.ts';
import type { ImageInput, Store } from '../store/store.ts';
import { packageInfo, storeKind, storeRole } from './records.ts';
import { compressionOf } from './store-package.ts';

type Requests = AsyncIterable<StorePackageFromStreamRequest>;
type Part = StorePackageFromStreamRequest['part'];

/** Stores the images of a stream as a new package, taking no more of it than the store asks for. */
export async function storeStream(
  store: Store,
  requests: Requests,
  { signal }: HandlerContext,
  idleMsMax = streamIdleMsMax,
) {
  const next = partReader(requests, idleMsMax);
  const first = await next();
  if (first?.case !== 'package') throw misplaced('the first message must be the package');
  const header = first.value;
  const { manifest } = await store.pack(imageInputs(header, new PieceReader(() => piece(next))), {
    packageId: header.packageId,
    name: header.name,
    kind: storeKind(header.kind),
    labels: header.labels,
    ...(header.parentPackageId !== '' && { parent: header.parentPackageId }),
    compress: compressionOf(header),
    delta: !header.withoutDelta,
    // What was sent is not there to be compared with, so a repetition starts anew.
    resume: false,
    signal,
  });
  return { package: packageInfo(manifest) };
}

function imageInputs({ images }: StreamedPackage, pieces: PieceReader): ImageInput[] {
  return images.map(({ name, role, logicalBytes, sourceSnapshotId }, index) => {
    const isLast = index === images.length - 1;
    const image = { name, sizeBytes: Number(logicalBytes), index, isLast };
    const noMapReason = 'read from a stream';
    const source = new StreamSource(pieces, image);
    return { name, source, role: storeRole(role), sourceSnapshotId, noMapReason };
  });
}

/** The next piece; undefined when the stream says that it is whole. */
async function piece(next: () => Promise<Part | undefined>): Promise<StreamPiece | undefined> {
  const part = await next();
  if (part === undefined) {
    const text = 'the stream was closed before its end message: nothing was stored, send all again';
    throw invalidArgument('STREAM_INCOMPLETE', text);
  }
  if (part.case === 'piece') {
    const { imageIndex, offset, content } = part.value;
    return { image: imageIndex, offset, content };
  }
  if (part.case !== 'end') throw misplaced('after the package come pieces, then the end');
  if ((await next()) !== undefined) throw misplaced('nothing may follow the end');
  return undefined;
}

/** One message at a time; undefined at the caller's half close. */
function partReader(requests: Requests, idleMsMax: number): () => Promise<Part | undefined> {
  const iterator = requests[Symbol.asyncIterator]();
  return async () => {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(idle(idleMsMax)), idleMsMax);
    try {
      const { done, value } = await Promise.race([iterator.next(), late.promise]);
      return done ? undefined : value.part;
    } finally {
      clearTimeout(timer);
    }
  };
}

function idle(idleMsMax: number) {
  const text = `nothing arrived for ${idleMsMax / 1000} s: send all again`;
  return deadlineExceeded('STREAM_IDLE', text);
}

function misplaced(rule: string) {
  return invalidArgument('STREAM_INVALID', `a message is out of place: ${rule}`);
}
