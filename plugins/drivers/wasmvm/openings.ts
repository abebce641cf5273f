import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  type DataLocation,
  DataLocationSchema,
  ImageFormat,
  type ImageRole,
} from '../../../gen/nfv/common/v1/common_pb.js';
import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import { openingMs, openingsMax } from './limits.ts';
import { tooMany } from './refusals.ts';

/**
 * Who reads what. An opening keeps its snapshot from being deleted until it is closed or expires;
 * it ends with the driver.
 */
export class Openings {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #open = new Map<string, { snapshotId: string; expireMs: number }>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Opens; `snapshotId` is empty for a volume, `token` where the caller leaves it to the driver. */
  open(snapshotId: string, token = ''): { token: string; expireMs: number } {
    this.#forgetExpired();
    this.#open.delete(token);
    if (this.#open.size >= openingsMax) throw tooMany('openings', openingsMax);
    token ||= this.#random.uuid();
    const expireMs = this.#clock.now().getTime() + openingMs;
    this.#open.set(token, { snapshotId, expireMs });
    return { token, expireMs };
  }

  close(token: string): void {
    this.#open.delete(token);
  }

  isOpen(snapshotId: string): boolean {
    this.#forgetExpired();
    return [...this.#open.values()].some((opening) => opening.snapshotId === snapshotId);
  }

  #forgetExpired(): void {
    const now = this.#clock.now().getTime();
    for (const [token, { expireMs }] of this.#open) {
      if (now >= expireMs) this.#open.delete(token);
    }
  }
}

/** Where an image is read or written: always a local file with the bytes as they are. */
export function locate(
  image: { name: string; role: ImageRole; sizeBytes: bigint },
  path: string,
  opening?: { token: string; expireMs: number },
): DataLocation {
  return create(DataLocationSchema, {
    name: image.name,
    role: image.role,
    sizeBytes: image.sizeBytes,
    location: { case: 'localFile', value: { path, format: ImageFormat.RAW } },
    ...(opening && {
      token: opening.token,
      expireTime: timestampFromMs(opening.expireMs),
    }),
  });
}
