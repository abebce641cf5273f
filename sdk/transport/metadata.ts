/** A metadata value: text, or bytes under a key that ends in "-bin". */
export type MetadataValue = string | Uint8Array;

const keyPattern = /^[0-9a-z_.-]{1,128}$/;
const textPattern = /^[\x20-\x7e]*$/;

/** Headers or trailers of a call: lower-case keys, each with one or more values, in order. */
export class CallMetadata {
  readonly #values = new Map<string, MetadataValue[]>();

  /**
   * Makes metadata from plain text pairs. Throws TypeError for a key or value HTTP/2 cannot carry.
   */
  static of(pairs: Readonly<Record<string, string>> = {}): CallMetadata {
    const metadata = new CallMetadata();
    for (const [key, value] of Object.entries(pairs)) metadata.set(key, value);
    return metadata;
  }

  /** The first text value of a key, or undefined. */
  get(key: string): string | undefined {
    const value = this.#values.get(key)?.[0];
    return typeof value === 'string' ? value : undefined;
  }

  /** The first binary value of a key that ends in "-bin", or undefined. */
  getBytes(key: string): Uint8Array | undefined {
    const value = this.#values.get(key)?.[0];
    return value instanceof Uint8Array ? value : undefined;
  }

  set(key: string, value: MetadataValue): this {
    this.#values.delete(key);
    return this.append(key, value);
  }

  append(key: string, value: MetadataValue): this {
    assertEntry(key, value);
    const values = this.#values.get(key);
    if (values) values.push(value);
    else this.#values.set(key, [value]);
    return this;
  }

  delete(key: string): this {
    this.#values.delete(key);
    return this;
  }

  clone(): CallMetadata {
    const copy = new CallMetadata();
    for (const [key, value] of this.entries()) copy.append(key, value);
    return copy;
  }

  *entries(): IterableIterator<[string, MetadataValue]> {
    for (const [key, values] of this.#values) for (const value of values) yield [key, value];
  }

  /** The text values as a plain object; several values of one key are joined with ", ". */
  toRecord(): Record<string, string> {
    const record: Record<string, string> = {};
    for (const [key, value] of this.entries()) {
      if (typeof value !== 'string') continue;
      record[key] = record[key] === undefined ? value : `${record[key]}, ${value}`;
    }
    return record;
  }
}

function assertEntry(key: string, value: MetadataValue): void {
  if (!keyPattern.test(key))
    throw new TypeError(`metadata key ${JSON.stringify(key)} is not valid`);
  const binary = key.endsWith('-bin');
  if (binary !== value instanceof Uint8Array) {
    throw new TypeError(`metadata "${key}" must be ${binary ? 'bytes' : 'text'}`);
  }
  if (typeof value === 'string' && !textPattern.test(value)) {
    throw new TypeError(`metadata "${key}" must be printable ASCII text`);
  }
}
