import { tablePageBytes, tablePagesMax } from '../limits.ts';
import { type OpenFile, truncated } from '../open-file.ts';

/** One entry of an L1 or L2 table in two halves: a number holds only 53 bits, a bigint is slow. */
export type TableEntry = { high: number; low: number };

/**
 * Pages of the tables of a whole chain, the least recently used one leaves first. A table is never
 * held as a whole, so that no claim in a header decides about memory.
 */
export class TablePages {
  readonly #pages = new Map<string, DataView>();
  /** The page that was used last: entries are mostly asked for one after the other. */
  #latest: { fd: number; index: number; page: DataView } | undefined;

  /**
   * `position` in bytes, a multiple of 8. Beyond the end of the file: DATA_LOSS `SOURCE_TRUNCATED`.
   */
  entry(file: OpenFile, position: number): TableEntry {
    const page = this.#page(file, Math.floor(position / tablePageBytes));
    const at = position % tablePageBytes;
    if (at + 8 > page.byteLength) throw truncated(file.path, position);
    return { high: page.getUint32(at), low: page.getUint32(at + 4) };
  }

  #page(file: OpenFile, index: number): DataView {
    const latest = this.#latest;
    if (latest?.fd === file.fd && latest.index === index) return latest.page;
    const page = this.#lookUp(file, index);
    this.#latest = { fd: file.fd, index, page };
    return page;
  }

  #lookUp(file: OpenFile, index: number): DataView {
    const key = `${file.fd}:${index}`;
    const known = this.#pages.get(key);
    if (known !== undefined) {
      this.#pages.delete(key);
      this.#pages.set(key, known);
      return known;
    }
    const start = index * tablePageBytes;
    if (start >= file.sizeBytes) throw truncated(file.path, start);
    const bytes = new Uint8Array(Math.min(tablePageBytes, file.sizeBytes - start));
    file.readNow(start, bytes);
    const page = new DataView(bytes.buffer);
    this.#pages.set(key, page);
    if (this.#pages.size > tablePagesMax) this.#pages.delete(this.#pages.keys().next().value!);
    return page;
  }
}
