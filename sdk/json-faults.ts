import { type DescField, type DescMessage, fromJson, type JsonValue } from '@bufbuild/protobuf';
import type { FieldViolation } from './errors.ts';

/** The most faults that are looked for. */
const faultsMax = 16;
/** How deep messages may lie in one another. */
const depthMax = 32;

type JsonObject = { [key: string]: JsonValue };

/**
 * Where JSON is not the form of a message: unknown names and wrong types, each with its path, for
 * example "virtualStorageDesc[0].sizeOfStorageMib". Empty when it can be decoded.
 */
export function findJsonFaults(schema: DescMessage, value: JsonValue): FieldViolation[] {
  return faultsIn(schema, value, '', 0).slice(0, faultsMax);
}

function faultsIn(
  schema: DescMessage,
  value: JsonValue,
  path: string,
  depth: number,
): FieldViolation[] {
  const why = problemOf(schema, value);
  if (why === undefined) return [];
  const here = { field: path, description: why };
  // A well-known type has a form of its own, for example that of a duration.
  if (!isObject(value) || schema.typeName.startsWith('google.protobuf.') || depth > depthMax) {
    return [here];
  }
  const found: FieldViolation[] = [];
  for (const [key, content] of Object.entries(value)) {
    if (found.length >= faultsMax) break;
    // Each field alone, so that the one at fault is known.
    const alone = problemOf(schema, { [key]: content });
    if (alone === undefined) continue;
    const at = path === '' ? key : `${path}.${key}`;
    found.push(...faultsOfField(fieldOf(schema, key), content, at, alone, depth));
  }
  return found.length > 0 ? found : [here];
}

function faultsOfField(
  field: DescField | undefined,
  content: JsonValue,
  path: string,
  why: string,
  depth: number,
): FieldViolation[] {
  const here = [{ field: path, description: why }];
  if (field === undefined) return [{ field: path, description: 'there is no such field' }];
  const { message } = field;
  if (message === undefined) return here;
  const inside = (value: JsonValue, at: string) => faultsIn(message, value, at, depth + 1);
  const found = partsOf(field, content).flatMap(([at, part]) => inside(part, path + at));
  return found.length > 0 ? found : here;
}

/** The messages in a field, each with what its path goes on with. */
function partsOf({ fieldKind }: DescField, content: JsonValue): [string, JsonValue][] {
  if (fieldKind === 'message') return [['', content]];
  if (fieldKind === 'list' && Array.isArray(content)) {
    return content.map((part, index) => [`[${index}]`, part]);
  }
  if (fieldKind === 'map' && isObject(content)) {
    return Object.entries(content).map(([key, part]) => [`.${key}`, part]);
  }
  return [];
}

function fieldOf(schema: DescMessage, key: string): DescField | undefined {
  return schema.fields.find(({ jsonName, name }) => jsonName === key || name === key);
}

function problemOf(schema: DescMessage, value: JsonValue): string | undefined {
  try {
    fromJson(schema, value);
    return undefined;
  } catch (thrown) {
    // "cannot decode field nfv.vnfd.v1.Vnfd.vdu from JSON: …": the path says it better.
    return (thrown as Error).message.replace(/^cannot decode .*? from JSON:? ?/, '');
  }
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
