import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/** What a component of the demo VNF says of itself. */
export type VnfStatus = {
  ok?: boolean;
  role: 'gateway' | 'database';
  counter: number;
  prepared: boolean;
  lines: number;
  generation: string;
  frozen?: boolean;
  fault?: string;
  error?: string;
};

const answerMsMax = 20_000;
let requests = 0;

/** Sends one request over a VNF channel (a Unix socket) and waits for its answer; lines for others are ignored. */
export async function askVnf(
  socketPath: string,
  operation: string,
  more: Record<string, unknown> = {},
): Promise<VnfStatus> {
  const id = `test-${process.pid}-${++requests}`;
  const socket = connect(socketPath);
  const timer = setTimeout(
    () => socket.destroy(new Error(`no answer to ${operation}`)),
    answerMsMax,
  );
  try {
    await once(socket, 'connect');
    socket.write(`${JSON.stringify({ id, op: operation, ...more })}\n`);
    for await (const line of createInterface({ input: socket })) {
      const answer = JSON.parse(line);
      if (answer.id === id) return answer;
    }
    throw new Error(`the VNF channel closed without an answer to ${operation}`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}
