import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt';
import { type Expression, filterError, type Operator, type Token } from './filter-syntax.ts';

/** A value that can be compared. */
type Comparable = string | number | bigint | boolean;

/** Decides about one simple value of a message. */
export type Test = (value: unknown) => boolean;

/** How a simple type of protobuf is compared with the text of a filter. */
type SimpleType = {
  readonly name: string;
  /** The value of a filter; undefined when the text is none of this type. */
  parse(text: string): Comparable | undefined;
  /** The value of a message. */
  read(value: unknown): Comparable | undefined;
  readonly ordered: boolean;
  readonly textual: boolean;
};

const integerTypes = new Set([
  ScalarType.INT32,
  ScalarType.UINT32,
  ScalarType.SINT32,
  ScalarType.FIXED32,
  ScalarType.SFIXED32,
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);

const text: SimpleType = {
  name: 'text',
  parse: (from) => from,
  read: (value) => String(value),
  ordered: true,
  textual: true,
};

const bool: SimpleType = {
  name: 'true or false',
  parse: (from) => ({ true: true, false: false })[from],
  read: (value) => Boolean(value),
  ordered: false,
  textual: false,
};

/** Both sides as bigint, so that 64 bits stay exact. */
const integer: SimpleType = {
  name: 'an integer',
  parse: (from) => (/^[+-]?\d{1,20}$/.test(from) ? BigInt(from.replace('+', '')) : undefined),
  read: (value) => BigInt(value as number | bigint | string),
  ordered: true,
  textual: false,
};

const number: SimpleType = {
  name: 'a number',
  parse: (from) => (from.trim() === '' || Number.isNaN(Number(from)) ? undefined : Number(from)),
  read: (value) => Number(value),
  ordered: true,
  textual: false,
};

const bytes: SimpleType = {
  name: 'base64',
  parse: (from) => Buffer.from(from, 'base64').toString('base64'),
  read: (value) => Buffer.from(value as Uint8Array).toString('base64'),
  ordered: false,
  textual: false,
};

const timestamp: SimpleType = {
  name: 'a time as in RFC 3339',
  parse: parseTimestamp,
  read: (value) => nanoseconds(value as Timestamp),
  ordered: true,
  textual: false,
};

const duration: SimpleType = {
  name: 'a duration such as "1.5s"',
  parse: parseDuration,
  read: (value) => nanoseconds(value as Duration),
  ordered: true,
  textual: false,
};

/** A value of google.protobuf.Struct: compared as the type that it has. */
const json: SimpleType = {
  name: 'text',
  parse: (from) => from,
  read: (value) => (value === null || typeof value === 'object' ? undefined : String(value)),
  ordered: true,
  textual: true,
};

/** The test that an expression makes of a JSON value. */
export function jsonTest(expression: Expression): Test {
  const asText = testOf(json, expression);
  if (!expression.values.every((value) => number.parse(value.text) !== undefined)) return asText;
  if (expression.operator.endsWith('cont')) return asText;
  const asNumber = testOf(number, expression);
  return (value) => (typeof value === 'number' ? asNumber(value) : asText(value));
}

/** The test that an expression makes of a field's value, or of an element of a list or map. */
export function valueTest(field: DescField, expression: Expression, of: 'value' | 'key'): Test {
  return testOf(typeOf(field, expression, of), expression);
}

function typeOf(field: DescField, expression: Expression, of: 'value' | 'key'): SimpleType {
  if (field.fieldKind === 'map' && of === 'key') return scalarType(field.mapKey);
  if (field.enum !== undefined) return enumType(field.enum);
  if (field.message !== undefined) {
    const special = wellKnownType(field.message);
    if (special !== undefined) return special;
    const last = expression.path.at(-1) as Token;
    const known = field.message.fields.map(({ name }) => name).join(', ');
    throw filterError(
      'FILTER_ATTRIBUTE',
      last.at,
      `"${last.text}" is not a simple attribute; name one of its own: ${known}`,
    );
  }
  return scalarType(field.scalar as ScalarType);
}

/** Messages that are compared as one value. */
export function wellKnownType(message: DescMessage): SimpleType | undefined {
  if (message.typeName === 'google.protobuf.Timestamp') return timestamp;
  if (message.typeName === 'google.protobuf.Duration') return duration;
  return undefined;
}

function scalarType(scalar: ScalarType): SimpleType {
  if (scalar === ScalarType.STRING) return text;
  if (scalar === ScalarType.BOOL) return bool;
  if (scalar === ScalarType.BYTES) return bytes;
  return integerTypes.has(scalar) ? integer : number;
}

/** By full name, or without the prefix that all its values share; ordered by number. */
function enumType(descriptor: DescEnum): SimpleType {
  const numbers = new Map<string, number>();
  for (const value of descriptor.values) {
    numbers.set(value.name, value.number);
    numbers.set(value.localName, value.number);
  }
  const names = descriptor.values.map(({ name }) => name).join(', ');
  return {
    name: `one of ${names}`,
    parse: (from) => numbers.get(from),
    read: (value) => value as number,
    ordered: true,
    textual: false,
  };
}

function testOf(type: SimpleType, { operator, values, at }: Expression): Test {
  if (operator.endsWith('cont') && !type.textual) {
    throw filterError('FILTER_OPERATOR', at, `${operator} compares text, this is ${type.name}`);
  }
  if (['gt', 'lt', 'gte', 'lte'].includes(operator) && !type.ordered) {
    throw filterError('FILTER_OPERATOR', at, `${operator} needs an order; use eq or neq`);
  }
  const wanted = values.map((value) => {
    const parsed = type.parse(value.text);
    if (parsed !== undefined) return parsed;
    throw filterError('FILTER_VALUE', value.at, `"${value.text}" is not ${type.name}`);
  });
  const compare = comparison(operator, wanted);
  return (value) => {
    const found = type.read(value);
    return found !== undefined && compare(found);
  };
}

function comparison(operator: Operator, wanted: Comparable[]): (found: Comparable) => boolean {
  const one = wanted[0] as Comparable;
  const contains = (found: Comparable) => wanted.some((part) => `${found}`.includes(`${part}`));
  switch (operator) {
    case 'eq':
      return (found) => found === one;
    case 'neq':
      return (found) => found !== one;
    case 'gt':
      return (found) => found > one;
    case 'lt':
      return (found) => found < one;
    case 'gte':
      return (found) => found >= one;
    case 'lte':
      return (found) => found <= one;
    case 'in':
      return (found) => wanted.includes(found);
    case 'nin':
      return (found) => !wanted.includes(found);
    case 'cont':
      return contains;
    case 'ncont':
      return (found) => !contains(found);
  }
}

function nanoseconds({ seconds, nanos }: { seconds: bigint; nanos: number }): bigint {
  return seconds * 1_000_000_000n + BigInt(nanos);
}

function parseTimestamp(from: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(
    from,
  );
  const [, time, fraction = '', zone] = match ?? [];
  if (time === undefined || zone === undefined) return undefined;
  const ms = Date.parse(`${time.toUpperCase()}${zone.toUpperCase()}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

function parseDuration(from: string): bigint | undefined {
  const match = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(from);
  if (match === null) return undefined;
  const [, sign, seconds = '0', fraction = ''] = match;
  const value = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -value : value;
}
