import type { Backend, OpenedFile } from './backend.ts';
import { objectMissing } from './faults.ts';
import { openSegmentsMax } from './limits.ts';
import { segmentName } from './object-names.ts';

/** An open segment that stays open until `release`. */
export type HeldSegment = { fd: number; sizeBytes: number; release(): void };

type Slot = { file: Promise<OpenedFile>; users: number };

/**
 * Open segments, kept for reuse. A file in use is never closed; the others are when there are too
 * many.
 */
export class SegmentFiles {
  private readonly backend: Backend;
  private readonly slots = new Map<string, Slot>();

  constructor(backend: Backend) {
    this.backend = backend;
  }

  /** Opens a segment or shares the open one. OBJECT_MISSING (DATA_LOSS) when there is none. */
  async hold(segmentId: string): Promise<HeldSegment> {
    const slot = this.slots.get(segmentId) ?? { file: this.open(segmentId), users: 0 };
    this.slots.delete(segmentId);
    this.slots.set(segmentId, slot);
    slot.users += 1;
    try {
      const { fd, sizeBytes } = await slot.file;
      await this.closeUnused(openSegmentsMax);
      let isHeld = true;
      const release = () => {
        if (isHeld) this.end(slot);
        isHeld = false;
      };
      return { fd, sizeBytes, release };
    } catch (error) {
      slot.users -= 1;
      if (this.slots.get(segmentId) === slot) this.slots.delete(segmentId);
      throw error;
    }
  }

  /**
   * Closes what nobody uses, down to `keep` files: an open file keeps the space of a deleted
   * segment.
   */
  async closeUnused(keep = 0): Promise<void> {
    for (const [id, slot] of this.slots) {
      if (this.slots.size <= keep) return;
      if (slot.users > 0) continue;
      this.slots.delete(id);
      await (await slot.file).close();
    }
  }

  private end(slot: Slot): void {
    slot.users -= 1;
  }

  private async open(segmentId: string): Promise<OpenedFile> {
    const name = segmentName(segmentId);
    const file = await this.backend.openFile(name);
    if (file === undefined) throw objectMissing(this.backend.path(name));
    return file;
  }
}
