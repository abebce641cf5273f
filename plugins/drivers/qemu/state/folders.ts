import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { LayerRecord } from '../state/records.ts';

/** Where everything of the driver lies. All on one file system, so that renames and links work. */
export class Folders {
  readonly root: string;
  constructor(root: string) {
    this.root = root;
    for (const folder of ['machines', 'layers', 'images', 'snapshots', 'links', 'leases', 'nbd']) {
      mkdirSync(join(root, folder), { recursive: true, mode: 0o700 });
    }
  }

  get database(): string {
    return join(this.root, 'state.sqlite');
  }
  get leases(): string {
    return join(this.root, 'leases');
  }
  get layers(): string {
    return join(this.root, 'layers');
  }
  get images(): string {
    return join(this.root, 'images');
  }
  get machines(): string {
    return join(this.root, 'machines');
  }
  get snapshots(): string {
    return join(this.root, 'snapshots');
  }
  get links(): string {
    return join(this.root, 'links');
  }
  get nbd(): string {
    return join(this.root, 'nbd');
  }

  machine(computeId: string): string {
    return join(this.machines, folderName(computeId));
  }
  run(computeId: string, runNumber: number): string {
    return join(this.machine(computeId), `run-${runNumber}`);
  }
  layer(layer: Pick<LayerRecord, 'layerId' | 'format'>): string {
    return join(this.layers, layerFileName(layer));
  }
  snapshot(snapshotId: string): string {
    return join(this.snapshots, folderName(snapshotId));
  }
  link(networkId: string): string {
    return join(this.links, folderName(networkId));
  }

  /** A path as seen from a run folder, because addresses of Unix sockets hold 107 bytes only. */
  fromRun(computeId: string, runNumber: number, path: string): string {
    return relative(this.run(computeId, runNumber), path);
  }
}

export const layerFileName = (layer: Pick<LayerRecord, 'layerId' | 'format'>): string =>
  `${layer.layerId}.${layer.format}`;

/**
 * A short folder name for an identifier: two identifiers never share one, and its length is fixed.
 */
export const folderName = (id: string): string =>
  createHash('sha256').update(id).digest('hex').slice(0, 20);
