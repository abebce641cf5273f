import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { aborted, alreadyExists, invalidArgument, notFound, resourceExhausted } from '../errors.ts';
import {
  type Collection,
  type CollectionDefinition,
  type ListOptions,
  type RecordPage,
  recordBytesMax,
  recordIdBytesMax,
  recordPageMax,
  type StoredRecord,
} from './record-store.ts';
import { isConstraint } from './sqlite-errors.ts';

/** Prepares each statement once for a connection. */
export class Statements {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  get(sql: string): StatementSync {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }
}

/** Runs a piece of work on the connection that fits: a reader, or the writer within a transaction. */
export type Access = {
  read<T>(work: (statements: Statements) => T): Promise<T>;
  write<T>(work: (statements: Statements) => T): Promise<T>;
};

type Row = { sequence: number; version: number; id: string; value: Uint8Array };

const where = 'namespace = ? AND collection = ?';
const columns = 'sequence, version, id, value';

const listStatements = {
  id: `SELECT ${columns} FROM records WHERE ${where} AND id > ? ORDER BY id LIMIT ?`,
  oldest: `SELECT ${columns} FROM records WHERE ${where} AND sequence > ? ORDER BY sequence LIMIT ?`,
  newest: `SELECT ${columns} FROM records WHERE ${where} AND sequence < ? ORDER BY sequence DESC LIMIT ?`,
};

/** A collection as rows of one table. */
export class SqliteCollection<T> implements Collection<T> {
  readonly #definition: CollectionDefinition<T>;
  readonly #key: readonly [string, string];
  readonly #access: Access;

  constructor(namespace: string, definition: CollectionDefinition<T>, access: Access) {
    this.#definition = definition;
    this.#key = [namespace, definition.name];
    this.#access = access;
  }

  get(id: string): Promise<StoredRecord<T> | undefined> {
    return this.#access.read((statements) => {
      const row = this.#find(statements, id);
      return row && this.#stored(row);
    });
  }

  async require(id: string): Promise<StoredRecord<T>> {
    const record = await this.get(id);
    if (record === undefined) throw this.#unknown(id);
    return record;
  }

  insert(id: string, value: T): Promise<StoredRecord<T>> {
    return this.#access.write((statements) => this.#insert(statements, id, value));
  }

  update(id: string, value: T, etag?: string): Promise<StoredRecord<T>> {
    return this.#access.write((statements) => {
      const row = this.#find(statements, id);
      if (row === undefined) throw this.#unknown(id);
      this.#checkEtag(row, etag);
      return this.#replace(statements, row, value);
    });
  }

  put(id: string, value: T): Promise<StoredRecord<T>> {
    return this.#access.write((statements) => {
      const row = this.#find(statements, id);
      if (row === undefined) return this.#insert(statements, id, value);
      return this.#replace(statements, row, value);
    });
  }

  delete(id: string, etag?: string): Promise<boolean> {
    return this.#access.write((statements) => {
      const row = this.#find(statements, id);
      if (row === undefined) return false;
      this.#checkEtag(row, etag);
      statements.get('DELETE FROM records WHERE sequence = ?').run(row.sequence);
      return true;
    });
  }

  list(options: ListOptions = {}): Promise<RecordPage<T>> {
    const { order = 'id', limit = recordPageMax, after } = options;
    if (!Number.isInteger(limit) || limit < 1 || limit > recordPageMax) {
      throw new RangeError(`list: limit ${limit} is not between 1 and ${recordPageMax}`);
    }
    const from = order === 'id' ? (after ?? '') : sequenceAfter(order, after);
    return this.#access.read((statements) => {
      const statement = statements.get(listStatements[order]);
      const rows = statement.all(...this.#key, from, limit + 1) as unknown as Row[];
      const records = rows.slice(0, limit).map((row) => this.#stored(row));
      const last = rows[limit - 1];
      if (rows.length <= limit || last === undefined) return { records };
      return { records, next: order === 'id' ? last.id : String(last.sequence) };
    });
  }

  count(): Promise<number> {
    return this.#access.read((statements) => {
      const row = statements.get(`SELECT count(*) AS count FROM records WHERE ${where}`);
      return Number(row.get(...this.#key)?.count);
    });
  }

  #find(statements: Statements, id: string): Row | undefined {
    const sql = `SELECT ${columns} FROM records WHERE ${where} AND id = ?`;
    return statements.get(sql).get(...this.#key, id) as unknown as Row | undefined;
  }

  #insert(statements: Statements, id: string, value: T): StoredRecord<T> {
    checkId(id);
    const sql = `INSERT INTO records (namespace, collection, id, version, value)
      VALUES (?, ?, ?, 1, ?)`;
    try {
      const bytes = this.#encode(id, value);
      const { lastInsertRowid } = statements.get(sql).run(...this.#key, id, bytes);
      return { id, value, etag: etagOf(Number(lastInsertRowid), 1) };
    } catch (error) {
      if (!isConstraint(error)) throw error;
      const { name } = this.#definition;
      throw alreadyExists('RECORD_EXISTS', `${name} "${id}" exists already; choose another id`, {
        collection: name,
        id,
      });
    }
  }

  #replace(statements: Statements, row: Row, value: T): StoredRecord<T> {
    const version = row.version + 1;
    statements
      .get('UPDATE records SET version = ?, value = ? WHERE sequence = ?')
      .run(version, this.#encode(row.id, value), row.sequence);
    return { id: row.id, value, etag: etagOf(row.sequence, version) };
  }

  #stored(row: Row): StoredRecord<T> {
    const value = this.#definition.codec.decode(row.value);
    return { id: row.id, value, etag: etagOf(row.sequence, row.version) };
  }

  #encode(id: string, value: T): Uint8Array {
    const bytes = this.#definition.codec.encode(value);
    if (bytes.length <= recordBytesMax) return bytes;
    const { name } = this.#definition;
    throw resourceExhausted(
      'RECORD_TOO_LARGE',
      `${name} "${id}" has ${bytes.length} bytes, the limit is ${recordBytesMax}`,
      { collection: name, id, bytes: String(bytes.length), limit: String(recordBytesMax) },
    );
  }

  #checkEtag(row: Row, etag: string | undefined): void {
    const present = etagOf(row.sequence, row.version);
    if (etag === undefined || etag === present) return;
    const { name } = this.#definition;
    throw aborted('ETAG_MISMATCH', `${name} "${row.id}" was changed by another; read it again`, {
      collection: name,
      id: row.id,
      given: etag,
      present,
    });
  }

  #unknown(id: string) {
    const { name } = this.#definition;
    return notFound('RECORD_UNKNOWN', `there is no ${name} "${id}"`, { collection: name, id });
  }
}

/** The sequence is never used again, so neither is an etag, even when a record is deleted and made anew. */
function etagOf(sequence: number, version: number): string {
  return `${sequence}.${version}`;
}

function checkId(id: string): void {
  const bytes = Buffer.byteLength(id);
  if (bytes >= 1 && bytes <= recordIdBytesMax) return;
  throw invalidArgument('ID_LENGTH', `an id has 1 to ${recordIdBytesMax} bytes, this ${bytes}`, {
    bytes: String(bytes),
    limit: String(recordIdBytesMax),
  });
}

function sequenceAfter(order: 'oldest' | 'newest', after: string | undefined): number {
  if (after === undefined) return order === 'oldest' ? 0 : Number.MAX_SAFE_INTEGER;
  const sequence = Number(after);
  if (Number.isSafeInteger(sequence) && sequence > 0) return sequence;
  throw invalidArgument('PAGE_CURSOR_INVALID', `"${after}" is no place in a list`, { after });
}
