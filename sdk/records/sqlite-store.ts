import { AsyncLocalStorage } from 'node:async_hooks';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { deadlineExceeded, failedPrecondition, resourceExhausted } from '../errors.ts';
import { failpoint } from '../failpoint.ts';
import { type Clock, systemClock } from '../ports/clock.ts';
import type { Collection, CollectionDefinition, RecordStore, Transaction } from './record-store.ts';
import { type Access, SqliteCollection, Statements } from './sqlite-collection.ts';
import { isBusy, storeError } from './sqlite-errors.ts';
import { migrate } from './sqlite-schema.ts';

/** How long SQLite waits for another process's lock, in milliseconds; it blocks the thread meanwhile. */
const busyTimeoutMs = 5_000;
/** How long a predecessor that is just dying may keep its lock, in milliseconds; blocks the thread too. */
const lockTimeoutMs = 2_000;
/** The longest a transaction may take, in milliseconds: others wait behind it. */
const transactionMsMax = 30_000;
/** The most transactions that may wait. */
const transactionsWaitingMax = 10_000;

export type SqliteStoreOptions = {
  /** The file; its folder is made. Beside it SQLite keeps `-wal` and `-shm`, and we `.lock`. */
  path: string;
  clock?: Clock;
  /** The largest size of the file in bytes; then STORE_FULL. Default: what the disk has. */
  sizeBytesMax?: number;
};

/**
 * Opens or makes a record store in one SQLite file. Each commit is synced to the disk (WAL, synchronous FULL).
 * One process at a time: FAILED_PRECONDITION with reason STORE_IN_USE. Other errors: FORMAT_TOO_NEW, STORE_FOREIGN
 * (both FAILED_PRECONDITION), STORE_CORRUPT (DATA_LOSS), STORE_ACCESS (FAILED_PRECONDITION).
 */
export function openSqliteStore(options: SqliteStoreOptions): RecordStore {
  const { path } = options;
  const opened: DatabaseSync[] = [];
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    createPrivate(path);
    opened.push(lock(path));
    const writer = new DatabaseSync(path, { timeout: busyTimeoutMs });
    opened.push(writer);
    writer.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF',
    );
    migrate(writer, path);
    limitSize(writer, options.sizeBytesMax);
    const reader = new DatabaseSync(path, { timeout: busyTimeoutMs, readOnly: true });
    opened.push(reader);
    const connections = new Connections(path, writer, reader, opened, options.clock ?? systemClock);
    return new SqliteStore(connections, '');
  } catch (error) {
    for (const database of opened.reverse()) database.close();
    throw storeError(error, path);
  }
}

/** The file may hold what only its owner should read, and SQLite gives `-wal` and `-shm` its mode. */
function createPrivate(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
}

/** Keeps other processes out; the operating system lets go when this one dies. */
function lock(path: string): DatabaseSync {
  createPrivate(`${path}.lock`);
  const database = new DatabaseSync(`${path}.lock`, { timeout: lockTimeoutMs });
  try {
    database.exec('BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    throw failedPrecondition('STORE_IN_USE', `${path}: in use; stop the other process first`, {
      path,
    });
  }
}

function limitSize(database: DatabaseSync, sizeBytesMax: number | undefined): void {
  if (sizeBytesMax === undefined) return;
  const pageBytes = Number(database.prepare('PRAGMA page_size').get()?.page_size);
  database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(sizeBytesMax / pageBytes))}`);
}

/** The connections of one file: one writes, in one transaction at a time; one reads what is committed. */
class Connections {
  readonly #path: string;
  readonly #writer: DatabaseSync;
  readonly #all: DatabaseSync[];
  readonly #clock: Clock;
  readonly #writing: Statements;
  readonly #reading: Statements;
  /** Tells calls made from within a transaction's work from others. */
  readonly #current = new AsyncLocalStorage<{ open: boolean }>();
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #closed = false;

  constructor(
    path: string,
    writer: DatabaseSync,
    reader: DatabaseSync,
    all: DatabaseSync[],
    clock: Clock,
  ) {
    this.#path = path;
    this.#writer = writer;
    this.#all = all;
    this.#clock = clock;
    this.#writing = new Statements(writer);
    this.#reading = new Statements(reader);
  }

  async read<T>(work: (statements: Statements) => T): Promise<T> {
    this.#check();
    return this.#translate(() => work(this.#reading));
  }

  /** Runs work after the transactions before it; see RecordStore.transaction. */
  async transaction<T>(work: (access: Access) => Promise<T>): Promise<T> {
    this.#check();
    if (this.#waiting >= transactionsWaitingMax) {
      const limit = String(transactionsWaitingMax);
      const text = `${this.#path}: ${limit} transactions wait already; retry later`;
      throw resourceExhausted('STORE_OVERLOADED', text, { path: this.#path, limit });
    }
    this.#waiting++;
    const before = this.#last;
    const mine = before.then(() => this.#run(work)).finally(() => this.#waiting--);
    this.#last = mine.catch(() => {});
    return mine;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    for (const database of this.#all.toReversed()) database.close();
  }

  async #run<T>(work: (access: Access) => Promise<T>): Promise<T> {
    const state = { open: true };
    this.#translate(() => this.#writer.exec('BEGIN IMMEDIATE'));
    try {
      const access = this.#accessWhile(state);
      const result = await this.#current.run(state, () => this.#limited(() => work(access)));
      state.open = false;
      await failpoint('records.before-commit');
      this.#translate(() => this.#writer.exec('COMMIT'));
      await failpoint('records.after-commit');
      return result;
    } finally {
      state.open = false;
      // SQLite has rolled back by itself after some errors.
      if (this.#writer.isTransaction) this.#translate(() => this.#writer.exec('ROLLBACK'));
    }
  }

  #accessWhile(state: { open: boolean }): Access {
    const use = async <T>(work: (statements: Statements) => T): Promise<T> => {
      if (!state.open) {
        throw failedPrecondition('TRANSACTION_ENDED', 'a transaction was used after its end', {});
      }
      return this.#translate(() => work(this.#writing));
    };
    return { read: use, write: use };
  }

  async #limited<T>(work: () => Promise<T>): Promise<T> {
    const done = new AbortController();
    const limit = this.#clock.sleep(transactionMsMax, done.signal).then(() => {
      throw deadlineExceeded(
        'TRANSACTION_TIMEOUT',
        `a transaction took over ${transactionMsMax} ms`,
      );
    });
    limit.catch(() => {});
    try {
      return await Promise.race([work(), limit]);
    } finally {
      done.abort();
    }
  }

  #check(): void {
    if (this.#current.getStore()?.open) {
      const text = 'a call of the store within a transaction; use the transaction handed in';
      throw failedPrecondition('TRANSACTION_NESTED', text, { path: this.#path });
    }
    if (this.#closed) {
      throw failedPrecondition('STORE_CLOSED', `${this.#path}: closed`, { path: this.#path });
    }
  }

  #translate<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw storeError(error, this.#path);
    }
  }
}

class SqliteStore implements RecordStore {
  readonly #connections: Connections;
  readonly #namespace: string;

  constructor(connections: Connections, namespace: string) {
    this.#connections = connections;
    this.#namespace = namespace;
  }

  collection<T>(definition: CollectionDefinition<T>): Collection<T> {
    return new SqliteCollection(this.#namespace, definition, {
      read: (work) => this.#connections.read(work),
      write: (work) => this.#connections.transaction((access) => access.write(work)),
    });
  }

  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.#connections.transaction((access) =>
      work({
        collection: (definition) => new SqliteCollection(this.#namespace, definition, access),
      }),
    );
  }

  /** Namespaces nest with '/', which is why a name has none. */
  namespace(name: string): RecordStore {
    if (name === '' || name.includes('/')) throw new RangeError(`namespace "${name}": bad name`);
    return new SqliteStore(this.#connections, `${this.#namespace}/${name}`);
  }

  async close(): Promise<void> {
    if (this.#namespace === '') await this.#connections.close();
  }
}
