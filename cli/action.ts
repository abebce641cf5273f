import type { Command } from 'commander';
import { RpcError } from '../sdk/errors.ts';
import { type ConnectOptions, withConnection } from './connection.ts';
import { exitCode, exitCodeOf } from './exit-codes.ts';
import { printJson } from './output.ts';
import type { Session } from './session.ts';

export type CommonOptions = ConnectOptions & { json?: boolean };

/** Adds `--json`, whose contract is one line of JSON, the last on standard output. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print one line of JSON at the end');
}

/** Adds the options of every command that talks to a server. */
export function asClient(command: Command): Command {
  return withJson(withConnection(command));
}

/** Adds what commands that start an operation have: `--no-wait`, and the options of a client. */
export function asOperation(command: Command): Command {
  return asClient(command).option('--no-wait', 'return at once with the id of the operation');
}

/**
 * Runs the body of a client command with a session and sets the exit code. The body may return an exit code.
 * `rest` are the command's arguments, as commander hands them over before options and command.
 */
export function clientAction<Options extends CommonOptions>(
  body: (session: Session, options: Options, ...rest: string[]) => Promise<unknown>,
) {
  return async (...parameters: unknown[]) => {
    const options = parameters.at(-2) as Options;
    const rest = parameters.slice(0, -2) as string[];
    // Loaded here: the gRPC stack would cost the commands that need no server time and 20 MiB.
    const { Session } = await import('./session.ts');
    const session = new Session(options);
    await guarded(options, () => body(session, options, ...rest)).finally(() => session.close());
  };
}

/** The same for a command that needs no server. */
export function localAction<Options extends object>(
  body: (options: Options, ...rest: unknown[]) => Promise<unknown>,
) {
  return async (...parameters: unknown[]) => {
    const options = parameters.at(-2) as Options & { json?: boolean };
    await guarded(options, () => body(options, ...parameters.slice(0, -2)));
  };
}

async function guarded(options: { json?: boolean }, body: () => Promise<unknown>): Promise<void> {
  try {
    const code = await body();
    process.exitCode = typeof code === 'number' ? code : exitCode.ok;
  } catch (thrown) {
    process.exitCode = reportError(thrown, options.json === true);
  }
}

/** Prints an error for people on standard error, and as JSON when asked; returns the exit code. */
export function reportError(thrown: unknown, json: boolean): number {
  const error = RpcError.from(thrown);
  const internal = !(thrown instanceof RpcError) && error.reason === 'INTERNAL';
  process.stderr.write(`mano: ${error.message} [${error.reason}]\n`);
  for (const { field, description } of error.violations) {
    if (error.message.includes(description)) continue;
    process.stderr.write(`  ${field}: ${description}\n`);
  }
  if (internal) process.stderr.write(`${(thrown as Error)?.stack ?? String(thrown)}\n`);
  if (json) {
    const { reason, message, metadata, violations } = error;
    printJson({ error: { reason, message, metadata, violations } });
  }
  return exitCodeOf(error);
}
