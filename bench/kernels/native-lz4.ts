// The native `lz4` as a peer: its own benchmark, in memory, with independent blocks of 64 KiB.
import { execFileSync } from 'node:child_process';

export type NativeRound = { compress: number; decompress: number; packedBytes: number };

export class NativeLz4 {
  readonly version: string;
  readonly #path: string;

  /** Throws when there is no `lz4` to run. */
  constructor(path: string) {
    this.#path = path;
    this.version = this.#run('lz4 --version').match(/v\d[\d.]*\d/)?.[0] ?? 'unknown';
  }

  // The command prints "… 12345 -> 6789 (1.818), 650.1 MB/s, 2900.2 MB/s" for its last round.
  round(): NativeRound {
    const text = this.#run(`lz4 -b1 -B4 -i1 '${this.#path}'`);
    const rates = [...text.matchAll(/([\d.]+) MB\/s/g)].map((found) => Number(found[1]));
    const [compress, decompress] = rates.slice(-2);
    const packedBytes = Number(text.match(/-> *(\d+) \(/)?.[1]);
    if (!compress || !decompress || !packedBytes) throw new Error(`lz4 -b printed: ${text}`);
    return { compress, decompress, packedBytes };
  }

  #run(command: string): string {
    return execFileSync('sh', ['-c', `exec ${command} 2>&1`]).toString();
  }
}
