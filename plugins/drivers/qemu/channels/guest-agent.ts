import { randomInt } from 'node:crypto';
import { ChannelError, JsonLineSocket } from './json-lines.ts';

/** The guest agent answered a command with an error. */
export class GuestAgentError extends Error {
  readonly command: string;
  constructor(command: string, description: string) {
    super(`guest agent ${command}: ${description}`);
    this.name = 'GuestAgentError';
    this.command = command;
  }
}

const connectDeadlineMs = 1000;
const execPollMs = 20;
const nanosecondsPerMs = 1_000_000;
const clockToleranceMs = 2000;
/** Output of one program that is kept; the agent itself cuts at 16 MiB. */
const delimiter = Uint8Array.of(0xff);

/** What a program in the guest left behind. */
export type ExecResult = { exitCode: number; stdout: string; stderr: string };

/**
 * A client of the QEMU guest agent. The port serves one client, and the watchdog must be able to
 * reach it: so a client is opened for one purpose and closed again (`withGuestAgent`), never kept.
 */
export class GuestAgent {
  readonly #socket: JsonLineSocket;
  readonly #end: number;
  #waiting: { command: string; settle: (message: Record<string, unknown>) => void } | undefined;
  #lost: ChannelError | undefined;
  #rejectWaiting: ((error: Error) => void) | undefined;

  private constructor(socket: JsonLineSocket, end: number) {
    this.#socket = socket;
    this.#end = end;
    socket.onMessage = (message) => this.#waiting?.settle(message as Record<string, unknown>);
    socket.onEnd = (error) => {
      this.#lost = error;
      this.#rejectWaiting?.(error);
    };
  }

  /**
   * Connects and synchronises; all calls together end within `deadlineMs`. ChannelError DEADLINE: a
   * silent agent.
   */
  static async open(path: string, deadlineMs: number): Promise<GuestAgent> {
    const end = performance.now() + deadlineMs;
    const socket = await JsonLineSocket.connect(path, Math.min(deadlineMs, connectDeadlineMs));
    const agent = new GuestAgent(socket, end);
    try {
      await agent.#synchronise();
    } catch (error) {
      agent.close();
      throw error;
    }
    return agent;
  }

  /** Freezes all file systems; returns how many. */
  freeze(): Promise<number> {
    return this.#execute<number>('guest-fsfreeze-freeze');
  }

  /**
   * Thaws all file systems; returns how many were thawed: only this number tells, not the status.
   */
  thaw(): Promise<number> {
    return this.#execute<number>('guest-fsfreeze-thaw');
  }

  freezeStatus(): Promise<'frozen' | 'thawed'> {
    return this.#execute<'frozen' | 'thawed'>('guest-fsfreeze-status');
  }

  /** Sets the guest's clock to ours. */
  async setTime(): Promise<void> {
    try {
      await this.#execute('guest-set-time', { time: Date.now() * nanosecondsPerMs });
    } catch (error) {
      if (!(error instanceof GuestAgentError)) throw error;
      // The agent wants the program hwclock, which small guests do not have.
      await this.exec('/bin/date', ['-s', `@${Math.round(Date.now() / 1000)}`]);
      const guestMs = (await this.#execute<number>('guest-get-time')) / nanosecondsPerMs;
      if (Math.abs(guestMs - Date.now()) > clockToleranceMs) throw error;
    }
  }

  ping(): Promise<unknown> {
    return this.#execute('guest-ping');
  }

  /** Runs a program in the guest to its end. */
  async exec(path: string, args: string[]): Promise<ExecResult> {
    const { pid } = await this.#execute<{ pid: number }>('guest-exec', {
      path,
      arg: args,
      'capture-output': true,
    });
    for (;;) {
      const status = await this.#execute<Record<string, unknown>>('guest-exec-status', { pid });
      if (status.exited) {
        return {
          exitCode: Number(status.exitcode ?? -1),
          stdout: decodeBase64(status['out-data']),
          stderr: decodeBase64(status['err-data']),
        };
      }
      await new Promise((resolve) => setTimeout(resolve, execPollMs));
    }
  }

  close(): void {
    this.#socket.close();
  }

  async #synchronise(): Promise<void> {
    // The agent may still have half a request of somebody before us in its parser, and the channel
    // an answer to it. The 0xFF makes its parser start afresh; our number tells our answer from
    // older ones.
    const id = randomInt(1, 2 ** 31);
    await this.#exchange('guest-sync-delimited', { id }, (message) => message.return === id);
  }

  #execute<T>(command: string, args?: object): Promise<T> {
    return this.#exchange(command, args, () => true) as Promise<T>;
  }

  #exchange(
    command: string,
    args: object | undefined,
    accepts: (message: Record<string, unknown>) => boolean,
  ): Promise<unknown> {
    if (this.#lost) return Promise.reject(this.#lost);
    if (this.#waiting) throw new Error(`guest agent: ${command} while another call is under way`);
    return new Promise((resolve, reject) => {
      const restMs = Math.max(1, this.#end - performance.now());
      const finish = (act: () => void) => {
        clearTimeout(timer);
        this.#waiting = undefined;
        this.#rejectWaiting = undefined;
        act();
      };
      const timer = setTimeout(() => {
        const text = `guest agent ${command}: no answer within ${Math.round(restMs)} ms`;
        finish(() => reject(new ChannelError('DEADLINE', text)));
      }, restMs);
      this.#rejectWaiting = (error) => finish(() => reject(error));
      this.#waiting = {
        command,
        settle: (message) => {
          const error = message.error as { desc?: string } | undefined;
          if (error && command !== 'guest-sync-delimited') {
            const text = error.desc ?? JSON.stringify(error);
            finish(() => reject(new GuestAgentError(command, text)));
          } else if (!error && accepts(message)) finish(() => resolve(message.return));
        },
      };
      const prefix = command === 'guest-sync-delimited' ? delimiter : undefined;
      this.#socket.send(
        args ? { execute: command, arguments: args } : { execute: command },
        prefix,
      );
    });
  }
}

/** Opens the agent, runs `use`, closes it. All of it ends within `deadlineMs`. */
export async function withGuestAgent<T>(
  path: string,
  deadlineMs: number,
  use: (agent: GuestAgent) => Promise<T>,
): Promise<T> {
  const agent = await GuestAgent.open(path, deadlineMs);
  try {
    return await use(agent);
  } finally {
    agent.close();
  }
}

function decodeBase64(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '';
}
