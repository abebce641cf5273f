/**
 * Named code points at which tests make a process fail: `await failpoint('store.after-index')`.
 *
 * A failpoint does nothing unless the environment asks for it:
 *
 *     NFV_FAILPOINTS='store.after-index=1*off->1*kill;driver.capture=error(disk is gone);*=sleep(5)'
 *
 * Each entry is a name and a chain of actions. An action with a count (`2*off`) lasts for that many hits of
 * the name, one without lasts for ever; after the last action the failpoint is off. The name `*` is hit by
 * every failpoint that has no entry of its own, with one count for all of them, so that a test can
 * say "kill at the n-th hit of anything": `*=4*off->1*kill`.
 *
 * Actions: `off`; `kill` (SIGKILL to this process, so that nothing is flushed); `error(text)` (throws
 * FailpointError); `sleep(ms)`.
 *
 * `NFV_FAILPOINTS_LOG=file` appends the name of each hit to a file, one a line, before the action.
 */
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** The longest sleep a failpoint accepts, in milliseconds; more would outlast every test's own deadline. */
const sleepMsMax = 600_000;

/** The most hits remembered in memory; the log file has all. */
const hitsMax = 10_000;

/** What `error(text)` throws. */
export class FailpointError extends Error {
  readonly failpoint: string;
  constructor(name: string, text: string) {
    super(text);
    this.name = 'FailpointError';
    this.failpoint = name;
  }
}

type Action =
  | { kind: 'off' }
  | { kind: 'kill' }
  | { kind: 'error'; text: string }
  | { kind: 'sleep'; ms: number };

type Term = { count: number; action: Action };
type Program = { terms: Term[]; hits: number };
type Settings = { programs: Map<string, Program>; logFile: string | undefined; hits: string[] };

let settings = fromEnvironment();

/**
 * Sets the failpoints of this process in place of the environment's; for tests in one process.
 * `undefined` switches all off. Throws Error on bad syntax.
 */
export function configureFailpoints(text: string | undefined, logFile?: string): void {
  settings =
    text === undefined && logFile === undefined
      ? undefined
      : { programs: parseFailpoints(text ?? ''), logFile, hits: [] };
}

/** The names that were hit in this process since failpoints were configured, in order. */
export function failpointHits(): readonly string[] {
  return settings?.hits ?? [];
}

/** A named code point. Throws FailpointError, sleeps or kills the process when a test asked for it. */
export async function failpoint(name: string): Promise<void> {
  if (settings === undefined) return;
  const action = hit(settings, name);
  if (action.kind === 'sleep') await delay(action.ms);
  else await act(name, action);
}

/** The same for synchronous code; `sleep` blocks the thread. */
export function failpointSync(name: string): void {
  if (settings === undefined) return;
  const action = hit(settings, name);
  if (action.kind === 'sleep') block(action.ms);
  else if (action.kind === 'kill') killSync();
  else throwIfError(name, action);
}

/** Parses the language of `NFV_FAILPOINTS`. Throws Error that quotes the part that is wrong. */
export function parseFailpoints(text: string): Map<string, Program> {
  const programs = new Map<string, Program>();
  for (const entry of splitOutsideParentheses(text, ';')) {
    if (entry.trim() === '') continue;
    const equals = entry.indexOf('=');
    const name = entry.slice(0, equals).trim();
    if (equals < 0 || name === '') throw new Error(`failpoint "${entry}": want name=action`);
    if (programs.has(name)) throw new Error(`failpoint "${name}" is given twice`);
    const terms = splitOutsideParentheses(entry.slice(equals + 1), '->').map(parseTerm);
    programs.set(name, { terms, hits: 0 });
  }
  return programs;
}

function fromEnvironment(): Settings | undefined {
  const text = process.env.NFV_FAILPOINTS;
  const logFile = process.env.NFV_FAILPOINTS_LOG;
  if (text === undefined && logFile === undefined) return undefined;
  return { programs: parseFailpoints(text ?? ''), logFile, hits: [] };
}

function splitOutsideParentheses(text: string, separator: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '(') depth++;
    else if (text[at] === ')') depth--;
    else if (depth === 0 && text.startsWith(separator, at)) {
      parts.push(text.slice(start, at));
      start = at + separator.length;
      at = start - 1;
    }
  }
  return [...parts, text.slice(start)];
}

function parseTerm(text: string): Term {
  const match = /^\s*(?:(\d+)\*)?(off|kill|error|sleep)(?:\((.*)\))?\s*$/s.exec(text);
  if (match === null) {
    throw new Error(`failpoint action "${text}": want [count*]off, kill, error(text) or sleep(ms)`);
  }
  const [, count, kind, argument] = match;
  return {
    count: count === undefined ? Number.POSITIVE_INFINITY : Number(count),
    action: toAction(text, kind as Action['kind'], argument),
  };
}

function toAction(text: string, kind: Action['kind'], argument: string | undefined): Action {
  if (kind === 'error') return { kind, text: argument ?? 'failpoint' };
  if (kind === 'sleep') {
    const ms = Number(argument);
    if (argument === undefined || !Number.isInteger(ms) || ms < 0 || ms > sleepMsMax) {
      throw new Error(`failpoint action "${text}": want sleep(0..${sleepMsMax})`);
    }
    return { kind, ms };
  }
  if (argument !== undefined) throw new Error(`failpoint action "${text}": takes no argument`);
  return { kind };
}

function hit(now: Settings, name: string): Action {
  if (now.hits.length < hitsMax) now.hits.push(name);
  if (now.logFile !== undefined) appendFileSync(now.logFile, `${name}\n`);
  const program = now.programs.get(name) ?? now.programs.get('*');
  if (program === undefined) return { kind: 'off' };
  let before = program.hits++;
  for (const term of program.terms) {
    if (before < term.count) return term.action;
    before -= term.count;
  }
  return { kind: 'off' };
}

async function act(name: string, action: Action): Promise<void> {
  if (action.kind === 'kill') {
    process.kill(process.pid, 'SIGKILL');
    // The signal may arrive a moment later: nothing after this point may run.
    await new Promise<never>(() => {});
  }
  throwIfError(name, action);
}

function throwIfError(name: string, action: Action): void {
  if (action.kind === 'error') throw new FailpointError(name, action.text);
}

function killSync(): void {
  process.kill(process.pid, 'SIGKILL');
  block(sleepMsMax);
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
