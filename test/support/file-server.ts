import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';

/** A server of files in memory, as a test wants it to be. */
export type FileServer = {
  /** Ends with "/". */
  address: string;
  files: Map<string, Buffer>;
  /** "GET /a.zip bytes=5-", in order. */
  requests: string[];
  /** Cuts the connection of the next answers after so many bytes. */
  cutAfter: number[];
  /** Answers these statuses first. */
  statuses: number[];
};

/** Knows GET with one range and If-Range, HEAD, PUT with If-None-Match and Content-Digest, DELETE. */
export async function fileServer(t: ExecutionContext): Promise<FileServer> {
  const state: FileServer = {
    address: '',
    files: new Map(),
    requests: [],
    cutAfter: [],
    statuses: [],
  };
  const server = createServer((request, response) => void answer(state, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  state.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return state;
}

async function answer(state: FileServer, request: IncomingMessage, response: ServerResponse) {
  const path = request.url ?? '';
  // It does not speak tus.
  if (request.method === 'OPTIONS') {
    response.writeHead(405).end();
    return;
  }
  state.requests.push(`${request.method} ${path} ${request.headers.range ?? ''}`.trim());
  const status = state.statuses.shift();
  if (status !== undefined) {
    response
      .writeHead(status, status === 302 ? { location: '/elsewhere.zip' } : {})
      .end('the test says so');
    return;
  }
  const file = state.files.get(path);
  if (request.method === 'PUT') {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    if (file && request.headers['if-none-match'] === '*') response.writeHead(412).end();
    else {
      const bytes = Buffer.concat(pieces);
      const digest = `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
      if (request.headers['content-digest'] !== digest) response.writeHead(400).end('digest');
      else {
        state.files.set(path, bytes);
        response.writeHead(201).end();
      }
    }
  } else if (file === undefined) response.writeHead(404).end('there is no such file');
  else if (request.method === 'DELETE') {
    state.files.delete(path);
    response.writeHead(204).end();
  } else give(state, request, response, file);
}

function give(state: FileServer, request: IncomingMessage, response: ServerResponse, file: Buffer) {
  const etag = `"${createHash('sha256').update(file).digest('hex')}"`;
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const goesOn = range !== null && request.headers['if-range'] === etag;
  const begin = goesOn ? Number(range[1]) : 0;
  const bytes = file.subarray(begin);
  response.writeHead(goesOn ? 206 : 200, {
    etag,
    'content-length': bytes.length,
    ...(goesOn && { 'content-range': `bytes ${begin}-${file.length - 1}/${file.length}` }),
  });
  if (request.method === 'HEAD') response.end();
  else {
    const cut = state.cutAfter.shift();
    if (cut === undefined) response.end(bytes);
    else response.write(bytes.subarray(0, cut), () => setTimeout(() => response.destroy(), 50));
  }
}
