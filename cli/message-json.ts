import { type DescMessage, type MessageShape, toJson } from '@bufbuild/protobuf';

/** A message in its proto3 JSON form: camelCase names, enum values by name, zero values included. */
export function messageJson<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): unknown {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}
