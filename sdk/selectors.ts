import {
  clearField,
  clone,
  type DescField,
  type DescMessage,
  type Message,
  type MessageShape,
} from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { invalidArgument } from './errors.ts';

/** The attribute selectors of a query (ETSI GS NFV-SOL 013 clause 5.3). Nothing means `excludeDefault`. */
export type Selectors = {
  readonly allFields?: boolean;
  /** Paths such as "a" or "b/c". */
  readonly fields?: readonly string[];
  readonly excludeFields?: readonly string[];
  readonly excludeDefault?: boolean;
};

const pathsMax = 64;
const pathSegmentsMax = 16;

/** The attributes of a path from the top down. */
type Path = readonly DescField[];

/**
 * Makes a function that leaves out what a query does not want; it copies, and never changes what it is given.
 *
 * `excludedByDefault` are the paths that the resource leaves out unless asked (for example "steps"). With `fields`, those
 * come back; together with `excludeDefault` only these come back. Attributes that the proto marks as required are the
 * caller's matter: it does not name them. INVALID_ARGUMENT with reason SELECTORS_CONFLICT for combinations other than
 * none, all_fields, fields, fields with exclude_default, exclude_fields, exclude_default; SELECTOR_ATTRIBUTE for
 * unknown attributes.
 */
export function compileSelectors<Desc extends DescMessage>(
  schema: Desc,
  selectors: Selectors,
  excludedByDefault: readonly string[],
): (message: MessageShape<Desc>) => MessageShape<Desc> {
  const { allFields = false, fields = [], excludeFields = [], excludeDefault = false } = selectors;
  checkCombination(allFields, fields.length > 0, excludeFields.length > 0, excludeDefault);
  const wanted = resolveAll(schema, fields);
  const unwanted = resolveAll(schema, excludeFields);
  const normally = resolveAll(schema, excludedByDefault);
  if (allFields) return (message) => message;
  const excluded = excludeFields.length > 0 ? unwanted : normally;
  return (message) => {
    const copy = clone(schema, message);
    for (const path of excluded) exclude(reflect(schema, copy), path, wanted, 0);
    return copy;
  };
}

function checkCombination(all: boolean, some: boolean, without: boolean, byDefault: boolean): void {
  const given = [
    all && 'all_fields',
    some && 'fields',
    without && 'exclude_fields',
    byDefault && 'exclude_default',
  ].filter((name) => name !== false);
  if (given.length <= 1 || given.join() === 'fields,exclude_default') return;
  const combination = given.join(', ');
  throw invalidArgument(
    'SELECTORS_CONFLICT',
    `${combination} cannot be combined; use one of them`,
    {
      combination,
    },
  );
}

function resolveAll(schema: DescMessage, paths: readonly string[]): Path[] {
  if (paths.length > pathsMax) {
    throw invalidArgument('SELECTOR_ATTRIBUTE', `more than ${pathsMax} attributes are selected`);
  }
  return paths.map((path) => resolve(schema, path));
}

function resolve(schema: DescMessage, path: string): Path {
  const names = path.split('/', pathSegmentsMax + 1);
  const fields: DescField[] = [];
  let within: DescMessage | undefined = schema;
  for (const name of names) {
    const field: DescField | undefined = within?.fields.find(
      (each) => each.name === name || each.localName === name || each.jsonName === name,
    );
    if (field === undefined || fields.length === pathSegmentsMax) {
      const known = within?.fields.map((each) => each.name).join(', ') ?? 'none';
      throw invalidArgument(
        'SELECTOR_ATTRIBUTE',
        `no attribute "${name}" of "${path}"; there are ${known}`,
        { path, attribute: name },
      );
    }
    fields.push(field);
    within = field.message;
  }
  return fields;
}

/** Clears the attribute at a path, as far as it is not wanted by name. */
function exclude(
  message: ReflectMessage,
  path: Path,
  wanted: readonly Path[],
  depth: number,
): void {
  const [field, ...rest] = path;
  if (field === undefined || !message.isSet(field)) return;
  const here = wanted.filter((other) => other[depth] === field);
  if (rest.length > 0) {
    for (const child of childrenOf(message, field)) exclude(child, rest, here, depth + 1);
    return;
  }
  // "b" or "b/c" was asked for: all of it, or only that part.
  if (here.some((other) => other.length === depth + 1)) return;
  if (here.length === 0) clearField(message.message as Message, field);
  else for (const child of childrenOf(message, field)) keepOnly(child, here, depth + 1);
}

function keepOnly(message: ReflectMessage, wanted: readonly Path[], depth: number): void {
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    const here = wanted.filter((path) => path[depth] === field);
    if (here.some((path) => path.length === depth + 1)) continue;
    if (here.length === 0) clearField(message.message as Message, field);
    else for (const child of childrenOf(message, field)) keepOnly(child, here, depth + 1);
  }
}

function childrenOf(message: ReflectMessage, field: DescField): ReflectMessage[] {
  if (field.fieldKind === 'message') return [message.get(field)];
  if (field.fieldKind === 'list' && field.listKind === 'message') {
    return [...message.get(field)] as ReflectMessage[];
  }
  if (field.fieldKind === 'map' && field.mapKind === 'message') {
    return [...message.get(field).values()] as ReflectMessage[];
  }
  return [];
}
