import { DatabaseSync } from 'node:sqlite';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import type { Records } from './records.ts';

/** The version of the records; a newer one is refused. */
const schemaVersion = 1;

/** The kinds of records. */
export type Kind = keyof Records;

/**
 * The driver's durable state: records by kind and id. What a transaction changed is there after a
 * crash, or none of it.
 */
export class Store {
  readonly #database: DatabaseSync;
  #depth = 0;

  /**
   * Opens or creates the file. FAILED_PRECONDITION reason STATE_NEWER when a newer release wrote
   * it.
   */
  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    const { user_version: found } = this.#database.prepare('PRAGMA user_version').get() as {
      user_version: number;
    };
    if (found > schemaVersion) {
      const text = `${path} has version ${found}; this release reads up to ${schemaVersion}`;
      throw failedPrecondition('STATE_NEWER', text, { path });
    }
    this.#database.exec(`
      CREATE TABLE IF NOT EXISTS record (kind TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT;
      PRAGMA user_version = ${schemaVersion};`);
  }

  get<K extends Kind>(kind: K, id: string): Records[K] | undefined {
    const row = this.#database
      .prepare('SELECT body FROM record WHERE kind = ? AND id = ?')
      .get(kind, id);
    return row && JSON.parse(row.body as string);
  }

  list<K extends Kind>(kind: K): Records[K][] {
    const rows = this.#database
      .prepare('SELECT body FROM record WHERE kind = ? ORDER BY id')
      .all(kind);
    return rows.map((row) => JSON.parse(row.body as string));
  }

  put<K extends Kind>(kind: K, id: string, record: Records[K]): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO record (kind, id, body) VALUES (?, ?, ?)')
      .run(kind, id, JSON.stringify(record));
  }

  delete(kind: Kind, id: string): void {
    this.#database.prepare('DELETE FROM record WHERE kind = ? AND id = ?').run(kind, id);
  }

  /** Runs `change` in one transaction: all of it becomes durable, or, when it throws, none. */
  transaction<T>(change: () => T): T {
    if (this.#depth > 0) return change();
    this.#database.exec('BEGIN IMMEDIATE');
    this.#depth++;
    try {
      const result = change();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth--;
    }
  }

  close(): void {
    this.#database.close();
  }
}
