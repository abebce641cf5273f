/**
 * Durable state of a plugin: typed collections of records, changed in transactions.
 *
 *     const vnfs = messageCollection('vnf-instances', VnfInstanceSchema);
 *     const store = openSqliteStore({ path: join(context.dataFolder, 'state.db'), clock }).namespace('vnfm');
 *     await store.collection(vnfs).insert(vnf.id, vnf);
 *     await store.transaction(async (tx) => {
 *       const found = await tx.collection(vnfs).require(id);
 *       await tx.collection(vnfs).update(id, { ...found.value, name }, found.etag);
 *     });
 *
 * Records are kept in the binary form of their message, not as JSON: fields written by a newer release survive a
 * read and a write by an older one, 64-bit integers stay exact, and renaming a field changes nothing stored.
 * Small private records without a message of their own may be JSON (`jsonCollection`).
 *
 * A method that returned has committed and is on the disk; a transaction whose work threw has changed nothing.
 * Everything is asynchronous, so that a database server can implement the same interface.
 */
import {
  type DescMessage,
  fromBinary,
  type JsonValue,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';

/** The largest record, in bytes. Larger things belong into the repository. */
export const recordBytesMax = 4 * 1024 * 1024;
/** The longest identifier and name, in UTF-8 bytes. */
export const recordIdBytesMax = 512;
/** The largest page of a list, in records. */
export const recordPageMax = 1000;

/** How the values of a collection become bytes. */
export interface Codec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** The name and the type of a collection. Names are unique within a namespace. */
export interface CollectionDefinition<T> {
  readonly name: string;
  readonly codec: Codec<T>;
}

/** A stored value. `etag` changes with every change of the record and never comes back. */
export type StoredRecord<T> = { readonly id: string; readonly value: T; readonly etag: string };

/** Which part of a collection to list. */
export type ListOptions = {
  /** By id, or by the time of insertion. Default: 'id'. */
  order?: 'id' | 'oldest' | 'newest';
  /** At most this many, 1 to recordPageMax. Default: recordPageMax. */
  limit?: number;
  /** The `next` of the previous page, with the same order. */
  after?: string;
};

/** One page of a list; `next` is absent on the last. Records inserted meanwhile may be missed, none comes twice. */
export type RecordPage<T> = { readonly records: StoredRecord<T>[]; readonly next?: string };

/** The records of one kind. All methods may also fail with the errors of the store (see RecordStore). */
export interface Collection<T> {
  /** The record, or undefined. */
  get(id: string): Promise<StoredRecord<T> | undefined>;
  /** The record. NOT_FOUND with reason RECORD_UNKNOWN when there is none. */
  require(id: string): Promise<StoredRecord<T>>;
  /** Adds a record. ALREADY_EXISTS with reason RECORD_EXISTS when the id is taken. */
  insert(id: string, value: T): Promise<StoredRecord<T>>;
  /**
   * Replaces a record. NOT_FOUND with reason RECORD_UNKNOWN when there is none; ABORTED with reason
   * ETAG_MISMATCH when an etag is given and another change came first: read again, decide again.
   */
  update(id: string, value: T, etag?: string): Promise<StoredRecord<T>>;
  /** Inserts or replaces. */
  put(id: string, value: T): Promise<StoredRecord<T>>;
  /** Removes a record; false when there was none. ABORTED with reason ETAG_MISMATCH as in update. */
  delete(id: string, etag?: string): Promise<boolean>;
  /** One page. INVALID_ARGUMENT with reason PAGE_CURSOR_INVALID when `after` is not from such a list. */
  list(options?: ListOptions): Promise<RecordPage<T>>;
  /** How many records there are. */
  count(): Promise<number>;
}

/** Collections within one transaction; of no use after its end. */
export interface Transaction {
  collection<T>(definition: CollectionDefinition<T>): Collection<T>;
}

/**
 * A store of records. Errors of every method: RESOURCE_EXHAUSTED with reason STORE_FULL when the disk is full
 * (nothing was changed), DATA_LOSS with reason STORE_CORRUPT, UNAVAILABLE with reason STORE_BUSY or STORE_IO,
 * FAILED_PRECONDITION with reason STORE_CLOSED.
 */
export interface RecordStore extends Transaction {
  /**
   * Runs `work` as one transaction: all of it is committed, or, when it throws, none. Transactions run one
   * after the other, so `work` only touches the store and computes; it never waits for calls or files.
   * Within `work` use only the transaction handed in: a call of the store itself is refused
   * (FAILED_PRECONDITION, TRANSACTION_NESTED).
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** The same store seen by one plugin: its collections are apart from those of others. */
  namespace(name: string): RecordStore;
  /** Waits for running transactions and closes. Closing a namespace closes nothing. */
  close(): Promise<void>;
}

/** A collection of protobuf messages. */
export function messageCollection<Desc extends DescMessage>(
  name: string,
  schema: Desc,
): CollectionDefinition<MessageShape<Desc>> {
  return {
    name,
    codec: {
      encode: (value) => toBinary(schema, value),
      decode: (bytes) => fromBinary(schema, bytes),
    },
  };
}

/** A collection of small private records in JSON. The type is trusted: only this program writes them. */
export function jsonCollection<T extends JsonValue>(name: string): CollectionDefinition<T> {
  return {
    name,
    codec: {
      encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
      decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)) as T,
    },
  };
}
