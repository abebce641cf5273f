/** Reads what clients put into options. No I/O here; every length is checked. */

/** Texts and numbers of one option; undefined where the data end too early. */
class OptionData {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  number(bytes: 2 | 4): number | undefined {
    if (this.#at + bytes > this.#data.length) return undefined;
    const value = this.#data.readUIntBE(this.#at, bytes);
    this.#at += bytes;
    return value;
  }

  text(): string | undefined {
    const length = this.number(4);
    if (length === undefined || length > this.#data.length - this.#at) return undefined;
    const start = this.#at;
    this.#at += length;
    return this.#data.toString('utf8', start, this.#at);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#data.length;
  }
}

/** The export and the kinds of information that INFO or GO ask for. */
export function parseInfoOption(
  data: Buffer,
): { exportName: string; wanted: number[] } | undefined {
  const reading = new OptionData(data);
  const exportName = reading.text();
  const count = reading.number(2);
  if (exportName === undefined || count === undefined) return undefined;
  const wanted: number[] = [];
  for (let left = count; left > 0; left--) {
    const kind = reading.number(2);
    if (kind === undefined) return undefined;
    wanted.push(kind);
  }
  return reading.isAtEnd ? { exportName, wanted } : undefined;
}

/** The export and the contexts that LIST_META_CONTEXT or SET_META_CONTEXT ask for. */
export function parseContextOption(
  data: Buffer,
): { exportName: string; queries: string[] } | undefined {
  const reading = new OptionData(data);
  const exportName = reading.text();
  const count = reading.number(4);
  if (exportName === undefined || count === undefined) return undefined;
  const queries: string[] = [];
  // Each has a length of its own, so that the data end long before a lying count does.
  for (let left = count; left > 0; left--) {
    const query = reading.text();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return reading.isAtEnd ? { exportName, queries } : undefined;
}
