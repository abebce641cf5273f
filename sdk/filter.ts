/**
 * ETSI's attribute filter (GS NFV-SOL 013 clause 5.2) over protobuf messages, by their descriptors.
 *
 *     const matches = parseFilter(VnfInstanceSchema, '(eq,vnfd_id,abc);(gt,size_bytes,100)');
 *     instances.filter(matches)
 *
 * Operators: eq neq gt lt gte lte with one value, in nin cont ncont with one or more; `;` means "and". Names are those of
 * the proto (snake_case) or of its JSON (camelCase). Enum values by name, with or without the common prefix; times as
 * in RFC 3339. An absent attribute matches nothing, not even neq; a plain number, text or flag is never absent.
 * A path through a list matches when one element does; expressions that share a list hold for the *same* element.
 * Of a map, `map/@key` is the key, and what follows `map/` otherwise an attribute of its values, or, when
 * these are simple, a key (`result/location`).
 */
import {
  type DescField,
  type DescMessage,
  isFieldSet,
  type MessageShape,
} from '@bufbuild/protobuf';
import { type Expression, filterError, parseExpressions, type Token } from './filter-syntax.ts';
import { jsonTest, type Test, valueTest, wellKnownType } from './filter-values.ts';

/** A message by the names of its fields. */
type Fields = Record<string, unknown>;

/** The expressions that begin with one field, in the shape of their paths. */
type Node = {
  readonly field: DescField;
  /** Tests of the value, or of an element. */
  readonly tests: Test[];
  readonly keyTests: Test[];
  /** Tests of the values at given keys of a map of simple values, or at paths within a Struct. */
  readonly keyed: { readonly path: readonly string[]; readonly test: Test }[];
  readonly children: Map<string, Node>;
};

/**
 * Makes a predicate of a filter; an empty filter matches everything. INVALID_ARGUMENT with metadata `position`
 * and reason FILTER_SYNTAX, FILTER_ATTRIBUTE (no such attribute), FILTER_VALUE (not of its type) or FILTER_OPERATOR.
 */
export function parseFilter<Desc extends DescMessage>(
  schema: Desc,
  filter: string,
): (message: MessageShape<Desc>) => boolean {
  const roots = new Map<string, Node>();
  for (const expression of parseExpressions(filter)) bind(roots, schema, expression, 0);
  return (message) => matchesAll(roots, message as unknown as Fields);
}

function bind(nodes: Map<string, Node>, schema: DescMessage, expression: Expression, at: number) {
  const segment = expression.path[at] as Token;
  const field = findField(schema, segment);
  let node = nodes.get(field.localName);
  if (node === undefined) {
    node = { field, tests: [], keyTests: [], keyed: [], children: new Map() };
    nodes.set(field.localName, node);
  }
  const rest = expression.path.slice(at + 1);
  const next = rest[0];
  if (next === undefined) node.tests.push(valueTest(field, expression, 'value'));
  else if (field.fieldKind === 'map' && next.text === '@key') bindKey(node, expression, rest);
  else if (isStruct(field)) node.keyed.push({ path: texts(rest), test: jsonTest(expression) });
  else if (field.message !== undefined && wellKnownType(field.message) === undefined) {
    bind(node.children, field.message, expression, at + 1);
  } else if (field.fieldKind === 'map' && rest.length === 1) {
    node.keyed.push({ path: texts(rest), test: valueTest(field, expression, 'value') });
  } else {
    throw filterError(
      'FILTER_ATTRIBUTE',
      next.at,
      `"${segment.text}" has no attributes of its own`,
    );
  }
}

function bindKey(node: Node, expression: Expression, rest: readonly Token[]): void {
  const beyond = rest[1];
  if (beyond !== undefined) {
    throw filterError('FILTER_ATTRIBUTE', beyond.at, 'a key has no attributes of its own');
  }
  node.keyTests.push(valueTest(node.field, expression, 'key'));
}

function findField(schema: DescMessage, { text, at }: Token): DescField {
  const field = schema.fields.find(
    ({ name, localName, jsonName }) => text === name || text === localName || text === jsonName,
  );
  if (field !== undefined) return field;
  const known = schema.fields.map(({ name }) => name).join(', ');
  throw filterError('FILTER_ATTRIBUTE', at, `no attribute "${text}" here; there are ${known}`);
}

function texts(tokens: readonly Token[]): string[] {
  return tokens.map(({ text }) => text);
}

/** protobuf-es keeps a google.protobuf.Struct as plain JSON. */
function isStruct(field: DescField): boolean {
  return field.message?.typeName === 'google.protobuf.Struct';
}

function matchesAll(nodes: ReadonlyMap<string, Node>, message: Fields): boolean {
  for (const node of nodes.values()) {
    if (!matches(node, message)) return false;
  }
  return true;
}

function matches(node: Node, message: Fields): boolean {
  const { field, keyed } = node;
  const value = fieldValue(field, message);
  if (value === undefined) return false;
  if (!keyed.every(({ path, test }) => testAt(value, path, test))) return false;
  switch (field.fieldKind) {
    case 'list':
      return (value as unknown[]).some((element) => holds(node, element));
    case 'map': {
      const { tests, keyTests, children } = node;
      const asked = tests.length + keyTests.length + children.size > 0;
      const entries = Object.entries(value as Fields);
      const entryHolds = ([key, element]: [string, unknown]) =>
        keyTests.every((test) => test(key)) && holds(node, element);
      return !asked || entries.some(entryHolds);
    }
    default:
      return holds(node, value);
  }
}

/** True when one value satisfies all that is asked of it. */
function holds({ tests, children }: Node, value: unknown): boolean {
  return tests.every((test) => test(value)) && matchesAll(children, value as Fields);
}

/** The value of a field; undefined when it is absent. */
function fieldValue(field: DescField, message: Fields): unknown {
  if (field.oneof !== undefined) {
    const chosen = message[field.oneof.localName] as { case?: string; value?: unknown };
    return chosen.case === field.localName ? chosen.value : undefined;
  }
  const plain = field.fieldKind === 'scalar' || field.fieldKind === 'enum';
  const implicit = plain && !hasPresence(field);
  if (plain && !implicit && !isFieldSet(message as never, field)) return undefined;
  return message[field.localName];
}

function hasPresence(field: DescField): boolean {
  return field.presence !== implicitPresence;
}

/** google.protobuf.FeatureSet.FieldPresence.IMPLICIT: the zero value is a value. */
const implicitPresence = 2;

/** Descends into plain JSON or a map; through arrays when one element matches. */
function testAt(value: unknown, path: readonly string[], test: Test): boolean {
  if (Array.isArray(value)) return value.some((element) => testAt(element, path, test));
  const [name, ...rest] = path;
  if (name === undefined) return value !== undefined && test(value);
  if (value === null || typeof value !== 'object' || !Object.hasOwn(value, name)) return false;
  return testAt((value as Fields)[name], rest, test);
}
