import type { ServedDisk } from './disk.ts';

/** The exports of a server, by name, in order: the first is the one without a name as well. */
export class Exports {
  readonly disks: ReadonlyMap<string, ServedDisk>;

  constructor(disks: ReadonlyMap<string, ServedDisk>) {
    this.disks = disks;
  }

  find(name: string): ServedDisk | undefined {
    return name === '' ? this.disks.values().next().value : this.disks.get(name);
  }
}
