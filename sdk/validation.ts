import {
  type DescField,
  type DescMessage,
  getOption,
  hasOption,
  type Message,
  ScalarType,
} from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';
import { type Rules, rules } from '../gen/nfv/meta/v1/meta_pb.js';
import { type FieldViolation, invalidArgument } from './errors.ts';
import { isSecretField } from './redact.ts';

/** Limits where the proto names none, as the comment of nfv.meta.v1.Rules promises. */
const stringBytesDefault = 1024;
const bytesBytesDefault = 1024 * 1024;
const itemsDefault = 1024;
/** Deeper messages are refused: no contract of ours nests so far, and a recursive type could. */
const nestingMax = 32;
/** Checking stops here: the rest would not fit into the error anyway. */
const violationsMax = 16;

/**
 * Checks a request against the rules of its fields, at every depth.
 *
 * @throws RpcError INVALID_ARGUMENT, FIELD_VIOLATION, with a BadRequest detail of paths and rules.
 */
export function validateRequest(schema: DescMessage, message: Message): void {
  const violations = findViolations(schema, message);
  const first = violations[0];
  if (!first) return;
  const more = violations.length > 1 ? `, and ${violations.length - 1} more` : '';
  throw invalidArgument(
    'FIELD_VIOLATION',
    `${first.field}: ${first.description}${more}`,
    { field: first.field, message: schema.typeName },
    violations,
  );
}

/** The rules that the message breaks, at most 16; none when it is valid. */
export function findViolations(schema: DescMessage, message: Message): FieldViolation[] {
  const violations: FieldViolation[] = [];
  checkMessage(reflect(schema, message, false), '', 0, violations);
  return violations.slice(0, violationsMax);
}

type Found = FieldViolation[];
const implicitPresence = FeatureSet_FieldPresence.IMPLICIT;

function checkMessage(message: ReflectMessage, path: string, depth: number, found: Found): void {
  if (depth > nestingMax) {
    found.push({
      field: path,
      description: `must not be nested deeper than ${nestingMax} messages`,
    });
    return;
  }
  for (const field of message.fields) {
    if (found.length >= violationsMax) return;
    const fieldPath = path ? `${path}.${field.name}` : field.name;
    const rule = hasOption(field, rules) ? getOption(field, rules) : undefined;
    if (message.isSet(field)) checkField(message, field, rule, fieldPath, depth, found);
    else if (rule?.required) checkAbsent(field, rule, fieldPath, found);
  }
}

/** A plain number or bool cannot be told absent from zero: only its range is checked. */
function checkAbsent(field: DescField, rule: Rules, path: string, found: Found): void {
  const plain = field.fieldKind === 'scalar' && field.presence === implicitPresence;
  const textual =
    field.fieldKind === 'scalar' &&
    (field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES);
  if (plain && !textual) checkRange(0, rule, path, found);
  else found.push({ field: path, description: 'is required' });
}

function checkField(
  message: ReflectMessage,
  field: DescField,
  rule: Rules | undefined,
  path: string,
  depth: number,
  found: Found,
): void {
  if (field.fieldKind === 'list') {
    const list = message.get(field);
    if (!checkCount(list.size, rule, path, found)) return;
    let index = 0;
    for (const item of list) checkValue(item, field, rule, `${path}[${index++}]`, depth, found);
    return;
  }
  if (field.fieldKind === 'map') {
    const map = message.get(field);
    if (!checkCount(map.size, rule, path, found)) return;
    for (const [key, value] of map) {
      if (typeof key === 'string') checkText(key, undefined, false, `${path} (a key)`, found);
      checkValue(value, field, rule, `${path}[${JSON.stringify(key)}]`, depth, found);
    }
    return;
  }
  const value = message.get(field);
  const empty = value === '' || (value instanceof Uint8Array && value.length === 0);
  const zero = field.fieldKind === 'enum' && value === 0;
  // An `optional` field may be present and still say nothing.
  if (rule?.required && (empty || zero)) {
    found.push({ field: path, description: zero ? 'must be specified' : 'must not be empty' });
    return;
  }
  checkValue(value, field, rule, path, depth, found);
}

function checkCount(count: number, rule: Rules | undefined, path: string, found: Found): boolean {
  const limit = rule?.maxItems ?? itemsDefault;
  if (count <= limit) return true;
  found.push({ field: path, description: `must have at most ${limit} entries, not ${count}` });
  return false;
}

function checkValue(
  value: unknown,
  field: DescField,
  rule: Rules | undefined,
  path: string,
  depth: number,
  found: Found,
): void {
  if (found.length >= violationsMax) return;
  if (typeof value === 'string') checkText(value, rule, isSecretField(field), path, found);
  else if (value instanceof Uint8Array) {
    const limit = rule?.maxBytes ?? bytesBytesDefault;
    if (value.length > limit) {
      found.push({
        field: path,
        description: `must be at most ${limit} bytes, not ${value.length}`,
      });
    }
  } else if (typeof value === 'number' || typeof value === 'bigint') {
    if (isEnum(field)) return;
    checkRange(value, rule, path, found);
  } else if (typeof value === 'object' && value !== null) {
    checkMessage(value as ReflectMessage, path, depth + 1, found);
  }
}

function isEnum(field: DescField): boolean {
  return field.enum !== undefined;
}

function checkText(
  value: string,
  rule: Rules | undefined,
  hidden: boolean,
  path: string,
  found: Found,
): void {
  const limit = rule?.maxBytes ?? stringBytesDefault;
  const bytes = Buffer.byteLength(value);
  if (bytes > limit) {
    found.push({ field: path, description: `must be at most ${limit} bytes, not ${bytes}` });
  } else if (rule?.pattern && value !== '' && !compiled(rule.pattern).test(value)) {
    const shown = hidden ? '' : `, and ${JSON.stringify(value.slice(0, 64))} does not`;
    found.push({ field: path, description: `must match ${rule.pattern}${shown}` });
  }
}

function checkRange(
  value: number | bigint,
  rule: Rules | undefined,
  path: string,
  found: Found,
): void {
  if (rule?.min === undefined && rule?.max === undefined) return;
  const low = rule.min !== undefined && !(value >= rule.min);
  const high = rule.max !== undefined && !(value <= rule.max);
  if (!low && !high) return;
  const bounds = [
    ...(rule.min !== undefined ? [`at least ${rule.min}`] : []),
    ...(rule.max !== undefined ? [`at most ${rule.max}`] : []),
  ];
  found.push({ field: path, description: `must be ${bounds.join(' and ')}, not ${value}` });
}

/** Patterns come from our own descriptors, so their number is bounded. */
const patterns = new Map<string, RegExp>();

function compiled(pattern: string): RegExp {
  let expression = patterns.get(pattern);
  if (!expression) {
    expression = new RegExp(`^(?:${pattern})$`, 'u');
    patterns.set(pattern, expression);
  }
  return expression;
}
