/** Archives at HTTP(S) addresses: a server of files that knows GET with ranges, PUT and DELETE. */
import { createHash } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RpcError } from '../../sdk/errors.ts';
import { forgetTus, takeBackTus, uploadByTus } from './tus-upload.ts';
import { invalid } from './web-address.ts';
import { failed, type Report, refused, request } from './web-request.ts';

/** A connection that breaks is tried again for some minutes; what has come is kept. */
export const transferRetries = { attemptsMax: 10, delayMs: 500, delayMsMax: 60_000 };

/** How long a server may be silent. */
const silenceMsMax = 60_000;

/**
 * Brings a file here. What an earlier try has brought is kept in "<path>.part" and gone on from, if
 * the server says by its ETag that the file is the same. UNAVAILABLE with reason TRANSFER_FAILED,
 * NOT_FOUND and so on by the server's answer.
 */
export async function download(
  url: string,
  path: string,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  const part = `${path}.part`;
  const tagFile = `${path}.etag`;
  if ((await sizeOf(path)) !== undefined) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const tag = await readFile(tagFile, 'utf8').catch(() => '');
  const have = tag === '' ? 0 : ((await sizeOf(part)) ?? 0);
  const range: Record<string, string> =
    have > 0 ? { range: `bytes=${have}-`, 'if-range': tag } : {};
  const response = await request(url, { headers: range, signal });
  if (response.status !== 200 && response.status !== 206) throw await refused(url, response);
  const goesOn = response.status === 206;
  if (goesOn && !response.headers.get('content-range')?.startsWith(`bytes ${have}-`)) {
    throw failed(url, `it answered with another range: ${response.headers.get('content-range')}`);
  }
  const begin = goesOn ? have : 0;
  const length = Number(response.headers.get('content-length') ?? Number.NaN);
  const total = Number.isNaN(length) ? undefined : begin + length;
  const strong = response.headers.get('etag') ?? '';
  // A weak tag says that the content means the same, not that its bytes are the same.
  await writeFile(tagFile, strong.startsWith('W/') ? '' : strong);
  const handle = await open(part, goesOn ? 'r+' : 'w', 0o600);
  try {
    let at = begin;
    for await (const piece of alive(url, response, signal)) {
      await handle.write(piece, 0, piece.length, at);
      at += piece.length;
      report(at, total, `fetching ${url}`);
    }
    if (total !== undefined && at !== total)
      throw failed(url, `it ended after ${at} of ${total} bytes`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, path);
}

/** Says that this transfer, and nobody else, put what is at the address. */
const markerOf = (path: string) => `${path}.put`;

/**
 * Brings a file there: by tus where the address speaks it, which goes on after a break, else by a
 * PUT. Returns where it is then. INVALID_ARGUMENT with reason LOCATION_INVALID, UNAVAILABLE with reason
 * TRANSFER_FAILED.
 */
export async function upload(
  path: string,
  url: string,
  transfer: { allowed: readonly string[]; signal: AbortSignal; report: Report },
): Promise<string> {
  const { signal, report } = transfer;
  const isPut = (await sizeOf(markerOf(path))) !== undefined;
  const there = isPut ? undefined : await uploadByTus(path, url, transfer);
  if (there !== undefined) return there;
  await put(path, url, signal, report);
  return url;
}

/**
 * Puts a file there, as a whole, with its digest (RFC 9530). What is there already is not
 * overwritten, unless it is of an earlier try.
 */
async function put(path: string, url: string, signal: AbortSignal, report: Report): Promise<void> {
  const { size } = await stat(path);
  const isRepeat = (await sizeOf(markerOf(path))) !== undefined;
  if (!isRepeat) {
    const there = await request(url, { method: 'HEAD', signal });
    if (there.ok) throw invalid(url, 'exists already');
    await writeFile(markerOf(path), url);
  }
  const hash = createHash('sha256');
  const handle = await open(path, 'r');
  for await (const piece of handle.createReadStream()) hash.update(piece);
  // A PUT is of the whole: what came of a broken one counts for nothing.
  report(0, size, isRepeat ? `sending anew to ${url}` : `sending to ${url}`);
  const response = await request(url, {
    method: 'PUT',
    body: await openAsBlob(path),
    headers: {
      'content-type': 'application/zip',
      'content-digest': `sha-256=:${hash.digest('base64')}:`,
      ...(!isRepeat && { 'if-none-match': '*' }),
    },
    signal,
  });
  if (response.status === 412) await rm(markerOf(path), { force: true });
  if (!response.ok) throw await refused(url, response);
  await response.body?.cancel();
  report(size, size, `sent to ${url}`);
}

/** Takes away there what a transfer of this file has put; that it is not there is fine. */
export async function takeBack(path: string, url: string, signal: AbortSignal): Promise<void> {
  await takeBackTus(path, signal);
  if ((await sizeOf(markerOf(path))) === undefined) return;
  const response = await request(url, { method: 'DELETE', signal });
  if (!response.ok && response.status !== 404 && response.status !== 410) {
    throw await refused(url, response);
  }
  await response.body?.cancel();
}

/** What a transfer leaves here. */
export async function forgetTransfer(path: string): Promise<void> {
  for (const each of [path, `${path}.part`, `${path}.etag`, markerOf(path)])
    await rm(each, { force: true });
  await forgetTus(path);
}

/** The pieces of an answer; a server that falls silent is given up. */
async function* alive(
  url: string,
  response: Response,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  if (response.body === null) throw failed(url, 'it answered without a body');
  const reader = response.body.getReader();
  const timer = { id: setTimeout(() => {}, 0) };
  try {
    for (;;) {
      clearTimeout(timer.id);
      const silent = new Promise<never>((_, reject) => {
        timer.id = setTimeout(() => reject(failed(url, 'it fell silent')), silenceMsMax);
      });
      const { done, value } = await Promise.race([reader.read(), silent]);
      if (done) return;
      yield value;
    }
  } catch (thrown) {
    if (signal.aborted || thrown instanceof RpcError) throw thrown;
    throw failed(url, (thrown as Error).message);
  } finally {
    clearTimeout(timer.id);
    await reader.cancel().catch(() => {});
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}
