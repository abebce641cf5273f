import { randomUUID } from 'node:crypto';
import { ChannelError, JsonLineSocket } from './json-lines.ts';

/** The guest's VNF program refused an operation. */
export class VnfChannelError extends Error {
  constructor(operation: string, description: string) {
    super(`VNF channel ${operation}: ${description}`);
    this.name = 'VnfChannelError';
  }
}

/**
 * An answer of the guest: JSON that the guest chose; `id` and `error` are the only keys known here.
 */
export type VnfAnswer = Record<string, unknown>;

/**
 * Sends one request to the VNF program of a guest and waits for its answer. Answers to other ids
 * are skipped: memory restored by a revert may still hold one. ChannelError DEADLINE when none
 * comes within `deadlineMs`.
 */
export async function callVnf(
  socketPath: string,
  request: { op: string } & Record<string, unknown>,
  deadlineMs: number,
): Promise<VnfAnswer> {
  const end = performance.now() + deadlineMs;
  const socket = await JsonLineSocket.connect(socketPath, deadlineMs);
  const id = randomUUID();
  try {
    const answer = await new Promise<VnfAnswer>((resolve, reject) => {
      const restMs = Math.max(1, end - performance.now());
      const timer = setTimeout(() => {
        const text = `VNF channel ${request.op}: no answer within ${Math.round(deadlineMs)} ms`;
        reject(new ChannelError('DEADLINE', text));
      }, restMs);
      socket.onEnd = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      socket.onMessage = (message) => {
        const candidate = message as VnfAnswer;
        if (candidate.id !== id) return;
        clearTimeout(timer);
        resolve(candidate);
      };
      socket.send({ ...request, id });
    });
    if (typeof answer.error === 'string') throw new VnfChannelError(request.op, answer.error);
    return answer;
  } finally {
    socket.onEnd = () => {};
    socket.close();
  }
}
