import { invalidArgument } from './errors.ts';

/** The longest filter, in characters. */
export const filterCharactersMax = 4096;
const expressionsMax = 64;
const valuesMax = 256;
const segmentsMax = 16;

const singleOperators = ['eq', 'neq', 'gt', 'lt', 'gte', 'lte'] as const;
const multipleOperators = ['in', 'nin', 'cont', 'ncont'] as const;

export type Operator = (typeof singleOperators)[number] | (typeof multipleOperators)[number];

/** A piece of a filter and where it begins, from 0. */
export type Token = { readonly text: string; readonly at: number };

/** One `(operator,path,values)`. */
export type Expression = {
  readonly operator: Operator;
  readonly path: readonly Token[];
  readonly values: readonly Token[];
  readonly at: number;
};

/** What went wrong, counted from 1 as people do. */
export function filterError(reason: string, at: number, text: string) {
  const position = String(at + 1);
  return invalidArgument(reason, `filter, character ${position}: ${text}`, { position }, [
    { field: 'filter', description: `character ${position}: ${text}` },
  ]);
}

/**
 * Parses an attribute filter of ETSI GS NFV-SOL 013 clause 5.2. An empty text has no expressions.
 * INVALID_ARGUMENT with reason FILTER_SYNTAX and the position.
 */
export function parseExpressions(text: string): Expression[] {
  if (text === '') return [];
  if (text.length > filterCharactersMax) {
    throw filterError(
      'FILTER_SYNTAX',
      filterCharactersMax,
      `over ${filterCharactersMax} characters`,
    );
  }
  const reader = new Reader(text);
  const expressions = [readExpression(reader)];
  while (!reader.atEnd) {
    reader.expect(';');
    if (expressions.length === expressionsMax) {
      throw filterError('FILTER_SYNTAX', reader.at, `over ${expressionsMax} expressions`);
    }
    expressions.push(readExpression(reader));
  }
  return expressions;
}

class Reader {
  readonly text: string;
  at = 0;

  constructor(text: string) {
    this.text = text;
  }

  get atEnd(): boolean {
    return this.at >= this.text.length;
  }

  get next(): string {
    return this.text[this.at] ?? '';
  }

  expect(character: string): void {
    if (this.next !== character) {
      const found = this.atEnd ? 'the end' : `"${this.next}"`;
      throw filterError('FILTER_SYNTAX', this.at, `want "${character}", found ${found}`);
    }
    this.at++;
  }

  /** The characters up to one of `stops` or the end. */
  until(stops: string): Token {
    const { at } = this;
    while (!this.atEnd && !stops.includes(this.next)) this.at++;
    return { text: this.text.slice(at, this.at), at };
  }
}

function readExpression(reader: Reader): Expression {
  const { at } = reader;
  reader.expect('(');
  const operator = reader.until(',()');
  if (!isOperator(operator.text)) {
    const known = [...singleOperators, ...multipleOperators].join(', ');
    throw filterError('FILTER_SYNTAX', operator.at, `"${operator.text}" is none of ${known}`);
  }
  reader.expect(',');
  const path = readPath(reader);
  const values: Token[] = [];
  while (reader.next === ',') {
    reader.at++;
    if (values.length === 1 && isSingle(operator.text)) {
      throw filterError('FILTER_SYNTAX', reader.at, `${operator.text} takes one value`);
    }
    if (values.length === valuesMax) {
      throw filterError('FILTER_SYNTAX', reader.at, `over ${valuesMax} values`);
    }
    values.push(readValue(reader));
  }
  if (values.length === 0) throw filterError('FILTER_SYNTAX', reader.at, 'want a value');
  reader.expect(')');
  return { operator: operator.text, path, values, at };
}

function readPath(reader: Reader): Token[] {
  const whole = reader.until(',()');
  const segments: Token[] = [];
  let at = whole.at;
  for (const part of whole.text.split('/')) {
    if (part === '') throw filterError('FILTER_SYNTAX', at, 'want the name of an attribute');
    segments.push({ text: unescapeName(part, at), at });
    at += part.length + 1;
  }
  if (segments.length > segmentsMax) {
    throw filterError('FILTER_SYNTAX', whole.at, `a path has at most ${segmentsMax} names`);
  }
  return segments;
}

/** `~1` is "/", `~a` ",", `~b` "@", `~0` "~". A bare "@" stays: "@key" is the key of a map. */
function unescapeName(text: string, at: number): string {
  const bad = text.search(/~(?![01ab])/);
  if (bad >= 0) throw filterError('FILTER_SYNTAX', at + bad, 'after "~" want 0, 1, a or b');
  const meaning: Record<string, string> = { '~0': '~', '~1': '/', '~a': ',', '~b': '@' };
  return text.replaceAll(/~[01ab]/g, (found) => meaning[found] ?? found);
}

/** Values with `,` `)` or `'` in them stand in single quotes; a quote inside is doubled. */
function readValue(reader: Reader): Token {
  if (reader.next !== "'") {
    const token = reader.until(",)'(");
    if (reader.next !== "'" && reader.next !== '(') return token;
    throw filterError('FILTER_SYNTAX', reader.at, 'values with quotes or brackets want quotes');
  }
  const { at } = reader;
  let text = '';
  do {
    // A quote opens the value, or is the second of a doubled one.
    if (reader.at > at) text += "'";
    reader.at++;
    text += reader.until("'").text;
    if (reader.atEnd) throw filterError('FILTER_SYNTAX', at, 'this quote has no end');
    reader.at++;
  } while (reader.next === "'");
  return { text, at };
}

function isOperator(text: string): text is Operator {
  return ([...singleOperators, ...multipleOperators] as string[]).includes(text);
}

function isSingle(operator: Operator): boolean {
  return (singleOperators as readonly string[]).includes(operator);
}
