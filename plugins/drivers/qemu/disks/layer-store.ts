import { randomBytes } from 'node:crypto';
import { link, rm } from 'node:fs/promises';
import { resourceExhausted } from '../../../../sdk/errors.ts';
import { removeLinkedFile } from '../../../../sdk/snapshot-folder.ts';
import { syncFile, syncFolder } from '../host/durable-files.ts';
import type { DiskLayer } from '../machine/arguments.ts';
import { type Folders, layerFileName } from '../state/folders.ts';
import type { LayerRecord } from '../state/records.ts';
import type { Store } from '../state/store.ts';
import type { DiskImage } from './image-folders.ts';
import { chainDepthMax, chainOf, type Layers } from './layers.ts';
import { createImage, type Format } from './qemu-img.ts';

/**
 * The files of all disks and the records of what lies on what. The file comes first, the record
 * makes it count.
 */
export class LayerStore {
  readonly #store: Store;
  readonly folders: Folders;
  readonly #pins = new Map<string, number>();
  constructor(store: Store, folders: Folders) {
    this.#store = store;
    this.folders = folders;
  }

  /**
   * Layers that work in progress relies on: they are neither merged nor removed. A new layer is
   * pinned from its birth.
   */
  get pinned(): Iterable<string> {
    return this.#pins.keys();
  }

  pin(layerIds: Iterable<string>): void {
    for (const id of layerIds) this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
  }

  /** The work is done, or a record points at the layer by now. */
  unpin(layerIds: Iterable<string>): void {
    for (const id of layerIds) {
      const count = (this.#pins.get(id) ?? 0) - 1;
      if (count > 0) this.#pins.set(id, count);
      else this.#pins.delete(id);
    }
  }

  all(): Layers {
    return new Map(this.#store.list('layer').map((layer) => [layer.layerId, layer]));
  }

  get(layerId: string): LayerRecord {
    const layer = this.#store.get('layer', layerId);
    if (!layer) throw new Error(`layer ${layerId} has no record`);
    return layer;
  }

  path(layerId: string): string {
    return this.folders.layer(this.get(layerId));
  }

  /** The chain as QEMU opens it, active layer first. */
  chain(top: string): DiskLayer[] {
    return chainOf(this.all(), top).map((layer) => ({
      nodeName: nodeName(layer.layerId),
      path: this.folders.layer(layer),
      format: layer.format,
    }));
  }

  /**
   * A new empty layer, alone or on a parent. RESOURCE_EXHAUSTED reason CHAIN_TOO_DEEP beyond the
   * bound.
   */
  async create(sizeBytes: number, parentId?: string): Promise<LayerRecord> {
    if (parentId !== undefined && chainOf(this.all(), parentId).length >= chainDepthMax) {
      const text = `the disk has ${chainDepthMax} layers already; delete snapshots of it`;
      throw resourceExhausted('CHAIN_TOO_DEEP', text, { layer_id: parentId });
    }
    const layer: LayerRecord = {
      layerId: newLayerId(),
      format: 'qcow2',
      sizeBytes,
      ...(parentId === undefined ? {} : { parentId }),
    };
    const parent = parentId === undefined ? undefined : this.get(parentId);
    const path = this.folders.layer(layer);
    const backing = parent && { name: layerFileName(parent), format: parent.format };
    try {
      await createImage(path, sizeBytes, backing);
      await syncFile(path);
      await syncFolder(this.folders.layers);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    this.pin([layer.layerId]);
    this.#store.put('layer', layer.layerId, layer);
    return layer;
  }

  /** The bottom layer that holds an image; all volumes made from the image share it. */
  async fromImage(image: DiskImage): Promise<LayerRecord> {
    const known = this.#store.list('layer').find((layer) => layer.imageDigest === image.digest);
    if (known) {
      this.pin([known.layerId]);
      return known;
    }
    return this.adopt(image.path, image.format, image.sizeBytes, image.digest);
  }

  /**
   * A bottom layer made of a file that is in the data folder already: a second name for it, no
   * copy.
   */
  async adopt(
    path: string,
    format: Format,
    sizeBytes: number,
    imageDigest?: string,
  ): Promise<LayerRecord> {
    const layer: LayerRecord = {
      layerId: newLayerId(),
      format,
      sizeBytes,
      ...(imageDigest === undefined ? {} : { imageDigest }),
    };
    await link(path, this.folders.layer(layer));
    await syncFolder(this.folders.layers);
    this.pin([layer.layerId]);
    this.#store.put('layer', layer.layerId, layer);
    return layer;
  }

  /** The record goes first: a file without a record is rubbish that the next start removes. */
  async remove(layerId: string): Promise<void> {
    const layer = this.#store.get('layer', layerId);
    if (!layer) return;
    this.#store.delete('layer', layerId);
    await removeLinkedFile(this.folders.layer(layer));
  }

  /** Records that a child took over its parent's content and lies on `newParentId` now. */
  reparent(childId: string, newParentId: string): void {
    this.#store.put('layer', childId, { ...this.get(childId), parentId: newParentId });
  }
}

/** The name of the layer's node in QEMU (at most 31 bytes, not starting with a digit). */
export const nodeName = (layerId: string): string => `layer-${layerId}`;
export const layerIdOfNode = (name: string): string | undefined =>
  name.startsWith('layer-') ? name.slice('layer-'.length) : undefined;

const newLayerId = (): string => randomBytes(8).toString('hex');
