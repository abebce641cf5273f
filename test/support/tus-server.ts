import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FileStore } from '@tus/file-store';
import { Server as TusServer } from '@tus/server';
import type { ExecutionContext } from 'ava';

/** Starts the reference server of tus over a folder; returns "host:port". Its uploads are made at /lab/files. */
export async function tusServer(t: ExecutionContext, directory: string): Promise<string> {
  const tus = new TusServer({ path: '/lab/files', datastore: new FileStore({ directory }) });
  return await listening(
    t,
    createServer((request, response) => void tus.handle(request, response)),
  );
}

export type Answer = { status: number; headers?: Record<string, string> };

/** A server that answers as the test says, by the method; it notes what was asked. */
export async function scriptedServer(
  t: ExecutionContext,
  answerOf: (method: string, request: IncomingMessage, body: Buffer) => Answer,
): Promise<{ address: string; requests: string[] }> {
  const requests: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const { method = '' } = request;
    requests.push(method);
    const { status, headers = {} } = answerOf(method, request, Buffer.concat(pieces));
    response.writeHead(status, { 'tus-resumable': '1.0.0', ...headers }).end();
  };
  const server = createServer((request, response) => void answer(request, response));
  return { address: `http://${await listening(t, server)}/`, requests };
}

async function listening(t: ExecutionContext, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
