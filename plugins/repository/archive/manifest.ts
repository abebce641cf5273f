import { failedPrecondition } from '../../../sdk/errors.ts';
import { nameProblem } from './entry-name.ts';
import { archiveInvalid } from './faults.ts';

/** The version of the archive's layout that is written, and the newest that is read. */
export const archiveVersion = 1;
const versionKey = 'micromano_archive_version';

export type ManifestFile = { path: string; algorithm: 'SHA-256' | 'SHA-512'; digest: string };
export type Manifest = { metadata: Record<string, string>; files: ManifestFile[] };

/** No honest line comes near. */
const lineCharactersMax = 16_384;

const signatureBegin = /^----- ?BEGIN CMS ?-----$/;
const signatureEnd = /^----- ?END CMS ?-----$/;
const digestPatterns = { 'SHA-256': /^[0-9a-f]{64}$/, 'SHA-512': /^[0-9a-f]{128}$/ };

/**
 * The text that is signed. A key or value that does not fit on its line is a programmer's error.
 */
export function formatManifest({ metadata, files }: Manifest): string {
  const lines = ['metadata:'];
  for (const [key, value] of Object.entries({ ...metadata, [versionKey]: archiveVersion })) {
    lines.push(`  ${key}: ${value}`);
  }
  for (const { path, algorithm, digest } of files) {
    lines.push('', `Source: ${path}`, `Algorithm: ${algorithm}`, `Hash: ${digest}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Why this cannot be a line of the metadata block, or undefined. */
export function metadataProblem(key: string, value: string): string | undefined {
  if (!/^[A-Za-z0-9_]{1,128}$/.test(key)) return 'a key has letters, digits and _, at most 128';
  if (key === versionKey) return 'this key is set by the archive';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are searched for
  if (/[\u0000-\u001f\u007f]/.test(value)) return 'a value is one line without control characters';
  if (value.length > lineCharactersMax / 2) return `a value of more than ${lineCharactersMax / 2}`;
  return value.trim() === value ? undefined : 'a value begins or ends with a blank';
}

/**
 * Splits a manifest file into the text that is signed and the signature in its armour. The signed
 * bytes reach up to the begin marker; a marker with blanks, as other tools write it, is accepted.
 */
export function splitManifest(
  bytes: Uint8Array,
  file: string,
): { signed: Uint8Array; cms?: Buffer } {
  const text = Buffer.from(bytes).toString('latin1');
  const found = /^----- ?BEGIN CMS ?-----\r?$/m.exec(text);
  if (found === null) return { signed: bytes };
  const lines = text.slice(found.index).trimEnd().split(/\r?\n/);
  const ends = lines.findIndex((line) => signatureEnd.test(line));
  const body = lines.slice(1, ends);
  const sane =
    signatureBegin.test(lines[0]!) &&
    ends === lines.length - 1 &&
    body.every((line) => /^[A-Za-z0-9+/=]{1,128}$/.test(line));
  if (!sane) throw archiveInvalid('manifest-invalid', file, 'the signature block is malformed');
  const cms = Buffer.from(body.join(''), 'base64');
  return { signed: bytes.subarray(0, found.index), cms };
}

/** Reads the signed text. Everything in it is hostile. */
export function parseManifest(signed: Uint8Array, file: string): Manifest {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(signed);
  } catch {
    throw archiveInvalid('manifest-invalid', file, 'it is not valid UTF-8');
  }
  const lines = text.split(/\r?\n/);
  if (lines[0] !== 'metadata:') {
    throw archiveInvalid('manifest-invalid', file, 'line 1: must be "metadata:"');
  }
  const parser = new Parser(file);
  for (const [index, line] of lines.entries()) if (index > 0) parser.line(line, index + 1);
  return parser.end();
}

type Partial = { path: string; algorithm?: ManifestFile['algorithm']; digest?: string };

class Parser {
  readonly #file: string;
  readonly #metadata = new Map<string, string>();
  readonly #files = new Map<string, ManifestFile>();
  #open: Partial | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  line(line: string, number: number) {
    if (line.length > lineCharactersMax) throw this.#wrong(number, 'is too long');
    if (line.trim() === '') return;
    const colon = line.indexOf(':');
    const key = line.slice(0, Math.max(colon, 0)).trim();
    const value = line.slice(colon + 1).trim();
    const indented = line.trimStart() !== line;
    if (key === '') throw this.#wrong(number, 'is not "key: value"');
    if (key === 'Source') this.#source(value, number);
    else if (this.#open !== undefined) this.#attribute(key, value, number);
    else if (!indented && value === '') throw this.#wrong(number, `unknown section ${key}`);
    else if (this.#metadata.has(key)) throw this.#wrong(number, `${key} twice`);
    else this.#metadata.set(key, value);
  }

  #source(path: string, number: number) {
    this.#close(number);
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
      throw archiveInvalid('external-file', path, 'files outside of the archive are not fetched');
    }
    const problem = nameProblem(path);
    if (problem !== undefined) throw archiveInvalid('unsafe-name', path, problem);
    if (this.#files.has(path)) throw this.#wrong(number, `${path} twice`);
    this.#open = { path };
  }

  #attribute(key: string, value: string, number: number) {
    const open = this.#open!;
    if (key === 'Algorithm' && open.algorithm === undefined) {
      if (value !== 'SHA-256' && value !== 'SHA-512') {
        throw this.#wrong(
          number,
          `the algorithm ${value} is unknown, SHA-256 and SHA-512 are read`,
        );
      }
      open.algorithm = value;
    } else if (key === 'Hash' && open.digest === undefined) open.digest = value.toLowerCase();
    else throw this.#wrong(number, `${key} is not expected here`);
  }

  #close(number: number) {
    if (this.#open === undefined) return;
    const { path, algorithm, digest } = this.#open;
    if (algorithm === undefined || digest === undefined) {
      throw this.#wrong(number, `${path} lacks its algorithm or hash`);
    }
    if (!digestPatterns[algorithm].test(digest)) {
      throw this.#wrong(number, `the hash of ${path} is not one of ${algorithm}`);
    }
    this.#files.set(path, { path, algorithm, digest });
    this.#open = undefined;
  }

  end(): Manifest {
    this.#close(0);
    const version = this.#metadata.get(versionKey);
    this.#metadata.delete(versionKey);
    if (version !== undefined) this.#checkVersion(version);
    return { metadata: Object.fromEntries(this.#metadata), files: [...this.#files.values()] };
  }

  #checkVersion(version: string) {
    if (!/^[1-9][0-9]{0,8}$/.test(version)) throw this.#wrong(0, `version ${version}`);
    if (Number(version) <= archiveVersion) return;
    const message = `the archive has version ${version}, up to ${archiveVersion} is read: update`;
    throw failedPrecondition('FORMAT_TOO_NEW', message, {
      file: this.#file,
      version,
      known: String(archiveVersion),
    });
  }

  #wrong(number: number, what: string) {
    const where = number > 0 ? `line ${number}: ` : '';
    return archiveInvalid('manifest-invalid', this.#file, `${where}${what}`);
  }
}
