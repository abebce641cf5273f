import { connect, type Socket } from 'node:net';

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

/** How long an answer may take when the caller names no time, in milliseconds. */
const answerMsDefault = 20_000;
let requests = 0;

/**
 * Sends one request over a VNF channel (a Unix socket) and waits for its answer; lines for others
 * are ignored.
 */
export async function askVnf(
  socketPath: string,
  operation: string,
  answerMs: number = answerMsDefault,
): Promise<VnfStatus> {
  const id = `test-${process.pid}-${++requests}`;
  const socket = connect(socketPath);
  const late = new Error(`no answer to ${operation} over ${socketPath} in ${answerMs} ms`);
  const timer = setTimeout(() => socket.destroy(late), answerMs);
  try {
    socket.write(`${JSON.stringify({ id, op: operation })}\n`);
    for await (const line of linesOf(socket)) {
      const answer = JSON.parse(line) as VnfStatus & { id?: string };
      if (answer.id === id) return answer;
    }
    throw new Error(`${socketPath} closed without an answer to ${operation}`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function* linesOf(socket: Socket): AsyncIterable<string> {
  let rest = '';
  for await (const chunk of socket.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    yield* lines;
  }
}
