import { createHash } from 'node:crypto';
import { crc32, deflateRawSync } from 'node:zlib';

/** A file of an archive that may lie in every field. */
export type HostileEntry = {
  name: string;
  bytes: Uint8Array;
  deflate?: boolean;
  /** Unix mode with the kind of file; a regular file if absent. */
  mode?: number;
  crc?: number;
  sizeBytes?: number;
  storedBytes?: number;
  localName?: string;
  flags?: number;
  method?: number;
  /** Points at the data of the entry with this number instead of its own. */
  sameAs?: number;
};

function fields(...pairs: [2 | 4, number][]): Buffer {
  const bytes = Buffer.alloc(pairs.reduce((sum, [size]) => sum + size, 0));
  let at = 0;
  for (const [size, value] of pairs) at = bytes.writeUIntLE(value, at, size);
  return bytes;
}

/** Builds an archive the way no honest tool does. */
export function hostileZip(entries: HostileEntry[]): Buffer {
  const pieces: Buffer[] = [];
  const central: Buffer[] = [];
  const starts: number[] = [];
  let position = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const local = Buffer.from(entry.localName ?? entry.name);
    const data = entry.deflate ? deflateRawSync(entry.bytes) : Buffer.from(entry.bytes);
    const method = entry.method ?? (entry.deflate ? 8 : 0);
    const about: [2 | 4, number][] = [
      [2, 20],
      [2, entry.flags ?? 0x0800],
      [2, method],
      [2, 0],
      [2, 0x21],
      [4, entry.crc ?? crc32(entry.bytes)],
      [4, entry.storedBytes ?? data.length],
      [4, entry.sizeBytes ?? entry.bytes.length],
    ];
    const start = entry.sameAs === undefined ? position : starts[entry.sameAs]!;
    starts.push(start);
    if (entry.sameAs === undefined) {
      const header = fields([4, 0x04034b50], ...about, [2, local.length], [2, 0]);
      pieces.push(header, local, data);
      position += header.length + local.length + data.length;
    }
    const mode = (entry.mode ?? 0o100644) * 65536;
    const lengths: [2 | 4, number][] = [
      [2, name.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, mode],
    ];
    central.push(fields([4, 0x02014b50], [2, 0x0314], ...about, ...lengths, [4, start]), name);
  }
  const directory = Buffer.concat(central);
  const count = entries.length;
  const end = fields(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, count],
    [2, count],
    [4, directory.length],
    [4, position],
    [2, 0],
  );
  return Buffer.concat([...pieces, directory, end]);
}

export const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A manifest that lists these files. */
export function manifestOf(
  files: { name: string; bytes: Uint8Array }[],
  head = 'metadata:\n  a: b\n',
) {
  const blocks = files.map(
    ({ name, bytes }) => `\nSource: ${name}\nAlgorithm: SHA-256\nHash: ${digestOf(bytes)}\n`,
  );
  return { name: 'x.mf', bytes: Buffer.from(head + blocks.join('')) };
}
