/**
 * The small objects: a header line with kind, version and digest, then JSON; docs/storage-format.md
 * 2.1.
 */
import { createHash } from 'node:crypto';
import { formatTooNew, objectDamaged } from './faults.ts';
import { formatVersion, framedTextBytesMax } from './limits.ts';

export type FramedKind =
  | 'repository'
  | 'package'
  | 'lease'
  | 'marker'
  | 'blockers'
  | 'checkpoint'
  | 'scratch';

/** Manifests of packages with images that are cut by content have version 2. */
const versionMaxOf = (kind: FramedKind) => (kind === 'package' ? 2 : formatVersion);

/** Renders the object. */
export function formatFramed(
  kind: FramedKind,
  body: unknown,
  version: number = formatVersion,
): Uint8Array {
  const text = Buffer.from(`${JSON.stringify(body, undefined, 1)}\n`);
  const header = `micromano-${kind} ${version} ${digestOf(text)}\n`;
  return Buffer.concat([Buffer.from(header), text]);
}

/**
 * Reads the object back. `path` is for messages. Throws FORMAT_TOO_NEW (FAILED_PRECONDITION) for a
 * later version and OBJECT_DAMAGED (DATA_LOSS) for anything that is not exactly what was written.
 */
export function parseFramed(kind: FramedKind, bytes: Uint8Array, path: string): object {
  if (bytes.length > framedTextBytesMax) {
    throw objectDamaged(path, 0, `is longer than ${framedTextBytesMax} bytes`);
  }
  const lineEnd = bytes.indexOf(10);
  const header = Buffer.from(bytes.subarray(0, Math.max(0, lineEnd))).toString('latin1');
  const match = /^micromano-([a-z]+) ([1-9][0-9]{0,8}) (.*)$/.exec(header);
  if (match === null || match[1] !== kind) {
    throw objectDamaged(path, 0, `does not begin with "micromano-${kind} VERSION DIGEST"`);
  }
  const version = Number(match[2]);
  const versionMax = versionMaxOf(kind);
  if (version > versionMax) throw formatTooNew(path, version, versionMax);
  const text = Buffer.from(bytes.subarray(lineEnd + 1));
  if (digestOf(text) !== match[3]) {
    throw objectDamaged(path, lineEnd + 1, 'does not have the digest that its first line names');
  }
  return parseObject(text, path, lineEnd + 1);
}

function parseObject(text: Buffer, path: string, offset: number): object {
  let value: unknown;
  try {
    value = JSON.parse(text.toString('utf8'));
  } catch (error) {
    throw objectDamaged(path, offset, `is not JSON: ${(error as Error).message}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw objectDamaged(path, offset, 'is no JSON object');
}

function digestOf(text: Uint8Array): string {
  return createHash('sha256').update(text).digest('hex');
}
