/** Packing in a process that is running already, with a changed-block map. */
import { join } from 'node:path';
import type { Contender } from '../types.ts';
import { WarmService } from '../warm-client.ts';

export type WarmJob = {
  id: string;
  title: string;
  /** What the store holds before: its key and how `$W/store` is made, with a package `first`. */
  base: { key: string; script: string };
  image: string;
  changedMap: string;
  /** What the package `first` holds, packed once more with an empty map to warm up. */
  before: string;
  emptyMap: string;
};

/** A contender that asks a service; the service is new in each round and has packed once before. */
export function warmPacker(job: WarmJob): Contender {
  let service: WarmService | undefined;
  return {
    id: job.id,
    title: job.title,
    isOurs: true,
    needs: [],
    base: job.base,
    prepare: async ({ folder }) => {
      service = await WarmService.open(join(folder, 'store'));
      const { before: image, emptyMap: changedMap } = job;
      await service.pack({ image, parent: 'first', id: 'warming-up', changedMap });
    },
    run: async () => {
      const { image, changedMap } = job;
      return await service!.pack({ image, parent: 'first', id: 'second', changedMap });
    },
    end: async () => {
      await service?.close();
      service = undefined;
    },
    unpack: `"$MANO" unpack second --store "$W/store" --json --to "$W/back" && mv "$W/back/$(basename "${job.image}")" "$W/back/image"`,
    compare: { restored: 'back/image', original: job.image },
  };
}
