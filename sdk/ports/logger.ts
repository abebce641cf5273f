import { isMessage, type Registry } from '@bufbuild/protobuf';
import { redactedText, redactMessage } from '../redact.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Record<string, unknown>;

/** A structured log. Field values may be protobuf messages: their secrets are redacted. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to every line. */
  child(fields: LogFields): Logger;
}

export type LoggerOptions = {
  /** The lowest level that is written. Default: info. */
  level?: LogLevel;
  /** Finds the descriptors of logged messages. A message it does not know is not printed at all. */
  registry?: Registry;
  /** Receives each line, without its line end. Default: standard error. */
  write?: (line: string) => void;
  /** Stamps the lines. Default: the wall clock. */
  now?: () => Date;
};

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
/** One line never grows past this, whatever is logged. */
const textCharactersMax = 4096;
const nestingMax = 6;
const itemsMax = 64;
const secretName = /pass(word|phrase)|secret|token|private_?key|authorization|credential/i;

/** Makes a logger that writes one JSON object a line. */
export function createLogger(options: LoggerOptions = {}, fields: LogFields = {}): Logger {
  const lowest = levels.indexOf(options.level ?? 'info');
  const write = options.write ?? ((line: string) => void process.stderr.write(`${line}\n`));
  const now = options.now ?? (() => new Date());
  const log = (level: LogLevel) => (message: string, more?: LogFields) => {
    if (levels.indexOf(level) < lowest) return;
    const shown = plainFields({ ...fields, ...more }, options.registry, 0);
    write(JSON.stringify({ time: now().toISOString(), level, message: cut(message), ...shown }));
  };
  return {
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
    child: (more) => createLogger(options, { ...fields, ...more }),
  };
}

/** A logger that drops everything, for tests. */
export const silentLogger: Logger = createLogger({ write: () => {} });

function plainFields(fields: object, registry: Registry | undefined, depth: number): LogFields {
  const result: LogFields = {};
  for (const [name, value] of Object.entries(fields).slice(0, itemsMax)) {
    if (value === undefined) continue;
    result[name] = secretName.test(name) ? redactedText : plain(value, registry, depth);
  }
  return result;
}

function plain(value: unknown, registry: Registry | undefined, depth: number): unknown {
  if (typeof value === 'string') return cut(value);
  if (typeof value === 'bigint') return value.toString();
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `(${value.length} bytes)`;
  if (value instanceof Error) return cut(value.stack ?? value.message);
  if (isMessage(value)) {
    const schema = registry?.getMessage(value.$typeName);
    return schema ? redactMessage(schema, value, registry) : `(${value.$typeName})`;
  }
  if (depth >= nestingMax) return '(nested too deep)';
  if (Array.isArray(value)) {
    return value.slice(0, itemsMax).map((item) => plain(item, registry, depth + 1));
  }
  return plainFields(value, registry, depth + 1);
}

function cut(text: string): string {
  return text.length <= textCharactersMax ? text : `${text.slice(0, textCharactersMax)}…`;
}
