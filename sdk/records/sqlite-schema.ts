import type { DatabaseSync } from 'node:sqlite';
import { failedPrecondition } from '../errors.ts';

/** "NFVr": marks a file as a record store of this project. */
const applicationId = 0x4e465672;

/** One entry for each version of the layout, each leading from the version before. Never edit one that was released. */
const migrations: readonly string[] = [
  `CREATE TABLE records (
     sequence INTEGER PRIMARY KEY AUTOINCREMENT,
     namespace TEXT NOT NULL,
     collection TEXT NOT NULL,
     id TEXT NOT NULL,
     version INTEGER NOT NULL,
     value BLOB NOT NULL,
     UNIQUE (namespace, collection, id)
   ) STRICT;
   CREATE INDEX records_by_age ON records (namespace, collection, sequence);`,
];

/** The layout that this release writes. */
export const schemaVersion = migrations.length;

/**
 * Brings a file to the present layout, in one transaction. FAILED_PRECONDITION with reason FORMAT_TOO_NEW when a
 * newer release wrote it, STORE_FOREIGN when it is somebody else's database.
 */
export function migrate(database: DatabaseSync, path: string): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    const found = readVersion(database, path);
    for (const step of migrations.slice(found)) database.exec(step);
    if (found < schemaVersion) {
      database.exec(`PRAGMA application_id = ${applicationId}`);
      database.exec(`PRAGMA user_version = ${schemaVersion}`);
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function readVersion(database: DatabaseSync, path: string): number {
  const version = pragma(database, 'user_version');
  const owner = pragma(database, 'application_id');
  const tables = database.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.count;
  if (owner !== applicationId && (owner !== 0 || version !== 0 || tables !== 0)) {
    throw failedPrecondition('STORE_FOREIGN', `${path}: not a record store; name another file`, {
      path,
    });
  }
  if (version > schemaVersion) {
    throw failedPrecondition(
      'FORMAT_TOO_NEW',
      `${path}: written in layout ${version}, this release knows ${schemaVersion}; use a newer release`,
      { path, found: String(version), known: String(schemaVersion) },
    );
  }
  return version;
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}
