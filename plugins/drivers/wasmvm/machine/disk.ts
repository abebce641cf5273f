import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { markWritten } from './change-log.ts';
import type { DiskConfig } from './protocol.ts';

/** A disk of a running guest: a raw file, and the log of what was written to it. */
export class Disk {
  readonly config: DiskConfig;
  readonly #fd: number;
  readonly #log: Uint8Array;

  constructor(config: DiskConfig) {
    this.config = config;
    this.#fd = openSync(config.path, 'r+');
    this.#log = new Uint8Array(config.log);
  }

  get sizeBytes(): number {
    return this.config.sizeBytes;
  }

  /** Fills `target`; the part of the range behind the end of the file reads as zero. */
  read(offset: number, target: Uint8Array): void {
    let done = 0;
    while (done < target.length) {
      const count = readSync(this.#fd, target, done, target.length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    target.fill(0, done);
  }

  write(offset: number, source: Uint8Array): void {
    markWritten(this.#log, offset, source.length);
    let done = 0;
    while (done < source.length) {
      done += writeSync(this.#fd, source, done, source.length - done, offset + done);
    }
  }

  flush(): void {
    fdatasyncSync(this.#fd);
  }

  get log(): Uint8Array {
    return this.#log;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
