/** The other side of warm-service.ts. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Code, RpcError } from '../sdk/errors.ts';
import { nodeFlags } from './program.ts';
import type { Figures } from './types.ts';
import type { WarmAnswer, WarmRequest } from './warm-service.ts';

/** Packing what a map says takes well below a second. */
const answerDeadlineMs = 2 * 60 * 1000;

/** A service on one store. OPEN → CLOSED. */
export class WarmService {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(store: string): Promise<WarmService> {
    const program = join(import.meta.dirname, 'warm-service.ts');
    const service = new WarmService(fork(program, [store], { execArgv: nodeFlags }));
    await service.#answer();
    return service;
  }

  async pack(request: WarmRequest): Promise<Figures> {
    const answered = this.#answer();
    this.#child.send(request);
    const answer = (await answered) as WarmAnswer;
    if ('figures' in answer) return answer.figures;
    throw new RpcError(Code.INTERNAL, 'BENCH_SERVICE_FAILED', answer.problem);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  async #answer(): Promise<unknown> {
    const done = new AbortController();
    const signal = AbortSignal.any([done.signal, AbortSignal.timeout(answerDeadlineMs)]);
    try {
      return await Promise.race([
        once(this.#child, 'message', { signal }).then(([message]) => message),
        once(this.#child, 'exit', { signal }).then(([code]) => {
          const text = `the warm service ended with ${code}`;
          throw new RpcError(Code.INTERNAL, 'BENCH_SERVICE_FAILED', text);
        }),
      ]);
    } finally {
      done.abort();
    }
  }
}
