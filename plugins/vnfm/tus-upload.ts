/**
 * Uploads that go on after a break: tus 1.0.0 (https://tus.io/protocols/resumable-upload), with the
 * extensions creation, checksum and termination where the server has them.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { dataLoss } from '../../sdk/errors.ts';
import { checkAddress } from './web-address.ts';
import { failed, type Report, refused, request } from './web-request.ts';

/** What is sent in one request; a break costs no more than this. */
const pieceBytes = 4 * 1024 * 1024;
/** How often one piece may arrive broken. */
const brokenPiecesMax = 5;
const checksumMismatch = 460;
const protocol = { 'tus-resumable': '1.0.0' };

type Transfer = { allowed: readonly string[]; signal: AbortSignal; report: Report };
/** What a server can. */
type Offer = { algorithm: string; canEnd: boolean };
/** What is remembered of an upload: where it is, and how many bytes may have been sent. */
type Begun = Offer & { url: string; sent: number };

const noteOf = (path: string) => `${path}.tus`;
const draftOf = (path: string) => `${noteOf(path)}.new`;

/**
 * Sends what the server does not have yet. Returns where the file is then; nothing, when the address
 * does not speak tus. INVALID_ARGUMENT with reason LOCATION_INVALID, UNAVAILABLE with reason TRANSFER_FAILED, DATA_LOSS with
 * reason CHECKSUM_MISMATCH.
 */
export async function uploadByTus(
  path: string,
  url: string,
  transfer: Transfer,
): Promise<string | undefined> {
  const { size } = await stat(path);
  let begun = await remembered(path);
  // What is allowed may be less than when it began.
  if (begun) checkAddress(begun.url, transfer.allowed);
  let at = begun && (await offsetOf(begun, size, transfer.signal));
  if (begun === undefined || at === undefined) {
    // New, or the server has given the old one up.
    const offer = await offerOf(url, transfer.signal);
    if (offer === undefined) return undefined;
    begun = await create(path, url, size, offer, transfer);
    at = 0;
  }
  const file = await open(path, 'r');
  try {
    await sendFrom({ file, path, size }, at, begun, transfer);
  } finally {
    await file.close();
  }
  return begun.url;
}

/** Ends at the server what was sent of this file, if the server can; what is not there any more is fine. */
export async function takeBackTus(path: string, signal: AbortSignal): Promise<void> {
  const begun = await remembered(path);
  if (!begun?.canEnd) return;
  const response = await request(begun.url, { method: 'DELETE', headers: protocol, signal });
  const isGone = response.status === 404 || response.status === 410;
  if (!response.ok && !isGone) throw await refused(begun.url, response);
  await response.body?.cancel();
}

export async function forgetTus(path: string): Promise<void> {
  for (const each of [noteOf(path), draftOf(path)]) await rm(each, { force: true });
}

/** What the address offers; nothing when it does not make tus uploads. */
async function offerOf(url: string, signal: AbortSignal): Promise<Offer | undefined> {
  const response = await request(url, { method: 'OPTIONS', headers: protocol, signal });
  // Not now is not never; 501 is a server that knows no OPTIONS.
  if ((response.status >= 500 && response.status !== 501) || response.status === 429) {
    throw await refused(url, response);
  }
  await response.body?.cancel();
  const listOf = (name: string) =>
    (response.headers.get(name) ?? '').split(',').map((item) => item.trim());
  const extensions = listOf('tus-extension');
  if (!response.ok || !extensions.includes('creation')) return undefined;
  if (!listOf('tus-version').includes('1.0.0')) return undefined;
  const offered = extensions.includes('checksum') ? listOf('tus-checksum-algorithm') : [];
  const algorithm = ['sha256', 'sha1'].find((name) => offered.includes(name)) ?? '';
  return { algorithm, canEnd: extensions.includes('termination') };
}

async function create(
  path: string,
  url: string,
  size: number,
  offer: Offer,
  { allowed, signal }: Transfer,
): Promise<Begun> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  for await (const piece of file.createReadStream()) hash.update(piece);
  const metadata = {
    filename: basename(new URL(url).pathname),
    filetype: 'application/zip',
    sha256: hash.digest('hex'),
  };
  const pairs = Object.entries(metadata).map(
    ([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`,
  );
  const response = await request(url, {
    method: 'POST',
    headers: { ...protocol, 'upload-length': String(size), 'upload-metadata': pairs.join(',') },
    signal,
  });
  if (response.status !== 201) throw await refused(url, response);
  await response.body?.cancel();
  const location = response.headers.get('location');
  if (!location) throw failed(url, 'it made an upload and did not say where');
  // An address that was allowed must not lead to one that was not.
  const there = checkAddress(new URL(location, url).href, allowed);
  const begun = { url: there, sent: 0, ...offer };
  await remember(path, begun);
  return begun;
}

/** How much the server has; nothing, when it does not have the upload any more. */
async function offsetOf(
  { url, sent }: Begun,
  size: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const response = await request(url, { method: 'HEAD', headers: protocol, signal });
  if (response.status === 404 || response.status === 410) return undefined;
  if (!response.ok) throw await refused(url, response);
  const length = Number(response.headers.get('upload-length') ?? size);
  if (length !== size) throw failed(url, `it has an upload of ${length} bytes, not of ${size}`);
  return offsetIn(response, url, 0, sent);
}

async function sendFrom(
  { file, path, size }: { file: FileHandle; path: string; size: number },
  begin: number,
  begun: Begun,
  { signal, report }: Transfer,
): Promise<void> {
  const { url, algorithm } = begun;
  const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, Math.max(1, size - begin)));
  let at = begin;
  let broken = 0;
  report(at, size, begin > 0 ? `going on with ${url}` : `sending to ${url}`);
  while (at < size) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw failed(url, `the archive ends at ${at} of ${size} bytes`);
    const piece = buffer.subarray(0, bytesRead);
    await remember(path, { ...begun, sent: at + bytesRead });
    const sum = algorithm && createHash(algorithm).update(piece).digest('base64');
    const response = await request(url, {
      method: 'PATCH',
      headers: {
        ...protocol,
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(at),
        ...(sum && { 'upload-checksum': `${algorithm} ${sum}` }),
      },
      body: piece,
      signal,
    });
    if (response.status === checksumMismatch) {
      await response.body?.cancel();
      if (++broken < brokenPiecesMax) continue;
      const text = `${url}: the piece at ${at} arrived broken ${broken} times`;
      throw dataLoss('CHECKSUM_MISMATCH', text, { location: url, offset: String(at) });
    }
    if (response.status !== 204) {
      // Also what it says of a wrong offset: the next try asks it where it is.
      const error = await refused(url, response);
      throw response.status === 409 ? failed(url, error.message) : error;
    }
    at = offsetIn(response, url, at + 1, at + bytesRead);
    broken = 0;
    report(at, size, `sending to ${url}`);
  }
}

/** Nothing is called sent because a server claims more than it was given. */
function offsetIn(response: Response, url: string, least: number, most: number): number {
  const text = response.headers.get('upload-offset') ?? '';
  const offset = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (offset >= least && offset <= most) return offset;
  throw failed(url, `it claims the offset "${text}", which is not from ${least} to ${most}`);
}

async function remembered(path: string): Promise<Begun | undefined> {
  const text = await readFile(noteOf(path), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Begun);
}

async function remember(path: string, begun: Begun): Promise<void> {
  await writeFile(draftOf(path), JSON.stringify(begun), { flush: true });
  await rename(draftOf(path), noteOf(path));
  const folder = await open(dirname(path));
  await folder.sync().finally(() => folder.close());
}
