import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { unavailable } from '../../sdk/errors.ts';

/** The longest wait for an answer of a component. */
const answerMsMax = 30_000;
const reconnectMs = 100;

/** What a component of the demo VNF says of itself. */
export type ComponentStatus = {
  role: string;
  /** The number held in memory: last issued by the gateway, last recorded by the database. */
  counter: number;
  prepared: boolean;
  /** Lines written to its data disk. */
  lines: number;
  /** Random at each boot, kept in memory. */
  generation: string;
  /** What it noticed that should never happen. */
  fault?: string;
};

/** What all components say, by VNFC instance. */
export type ComponentStates = Record<string, ComponentStatus>;

export type ChannelOperation = 'status' | 'prepare' | 'resume' | 'wreck' | 'crash';

/**
 * Asks a component of the demo VNF over its channel: one JSON object a line. The socket is opened
 * for each question, and again while nobody answers, because a revert replaces the machine behind
 * it.
 */
export async function askComponent(
  path: string,
  op: ChannelOperation,
  signal?: AbortSignal,
  patienceMs = answerMsMax,
): Promise<ComponentStatus> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await askOnce(path, op, Math.min(3000, deadline - Date.now()));
    } catch (error) {
      if (Date.now() + reconnectMs >= deadline) {
        const text = `the component at ${path} did not answer "${op}": ${(error as Error).message}`;
        throw unavailable('COMPONENT_SILENT', text, { path, operation: op });
      }
      await new Promise((resolve) => setTimeout(resolve, reconnectMs));
    }
  }
}

async function askOnce(
  path: string,
  op: ChannelOperation,
  timeoutMs: number,
): Promise<ComponentStatus> {
  const socket = connect(path);
  const id = randomUUID();
  const timer = setTimeout(() => socket.destroy(new Error('no answer in time')), timeoutMs);
  try {
    await opened(socket);
    socket.write(`${JSON.stringify({ id, op })}\n`);
    for await (const line of createInterface({ input: socket })) {
      const answer = parse(line);
      if (answer?.id !== id) continue;
      if (answer.error) throw new Error(answer.error);
      return answer as unknown as ComponentStatus;
    }
    throw socket.errored ?? new Error('the channel was closed');
  } finally {
    clearTimeout(timer);
    socket.on('error', () => {});
    socket.destroy();
  }
}

function opened(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
}

/** A channel may hold half an answer to somebody who went away: what is not JSON is not for us. */
function parse(line: string): { id?: string; error?: string } | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
