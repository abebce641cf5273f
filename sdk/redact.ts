import {
  type DescField,
  type DescMessage,
  getOption,
  hasOption,
  type JsonValue,
  type Message,
  type Registry,
  toJson,
} from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { secret } from '../gen/nfv/meta/v1/meta_pb.js';

/** What stands in the place of a secret. */
export const redactedText = '(redacted)';

/** True when the field carries `(nfv.meta.v1.secret) = true`. */
export function isSecretField(field: DescField): boolean {
  return hasOption(field, secret) && getOption(field, secret);
}

/**
 * The message as JSON for logs and terminals, secrets replaced at every depth.
 * Bytes fields are shown by their length, since their content is never worth a log line.
 */
export function redactMessage(
  schema: DescMessage,
  message: Message,
  registry?: Registry,
): JsonValue {
  if (schema.typeName.startsWith('google.protobuf.')) {
    return toJson(schema, message, registry ? { registry } : {});
  }
  return redactReflected(reflect(schema, message), registry);
}

function redactReflected(message: ReflectMessage, registry?: Registry): JsonValue {
  const result: Record<string, JsonValue> = {};
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    result[field.localName] = isSecretField(field)
      ? redactedText
      : redactField(message, field, registry);
  }
  return result;
}

function redactField(message: ReflectMessage, field: DescField, registry?: Registry): JsonValue {
  if (field.fieldKind === 'list') {
    return [...message.get(field)].map((item) => redactValue(item, registry));
  }
  if (field.fieldKind === 'map') {
    const entries = [...message.get(field)].map(([key, value]) => [
      String(key),
      redactValue(value, registry),
    ]);
    return Object.fromEntries(entries);
  }
  if (field.fieldKind === 'enum') {
    const number = message.get(field) as number;
    return field.enum.value[number]?.name ?? number;
  }
  return redactValue(message.get(field), registry);
}

function redactValue(value: unknown, registry?: Registry): JsonValue {
  if (value instanceof Uint8Array) return `(${value.length} bytes)`;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  const nested = value as ReflectMessage;
  return redactMessage(nested.desc, nested.message, registry);
}
