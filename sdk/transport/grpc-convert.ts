import * as grpc from '@grpc/grpc-js';
import { messageTooLarge } from './in-process.ts';
import { CallMetadata } from './metadata.ts';
import { messageBytesMax } from './transport.ts';

/** Channel and server options that both ends share: the largest message, both ways. */
export const sizeOptions = {
  'grpc.max_send_message_length': messageBytesMax,
  'grpc.max_receive_message_length': messageBytesMax,
};

/** Headers that belong to one connection; a hop makes its own. */
const hopHeaders = new Set(['user-agent', 'grpc-accept-encoding', 'accept-encoding', 'date']);

export function fromGrpcMetadata(metadata: grpc.Metadata | undefined): CallMetadata {
  const result = new CallMetadata();
  if (!metadata) return result;
  for (const key of Object.keys(metadata.getMap())) {
    if (hopHeaders.has(key)) continue;
    for (const value of metadata.get(key)) {
      result.append(key, typeof value === 'string' ? value : new Uint8Array(value));
    }
  }
  return result;
}

export function toGrpcMetadata(metadata: CallMetadata): grpc.Metadata {
  const result = new grpc.Metadata();
  for (const [key, value] of metadata.entries()) {
    result.add(key, typeof value === 'string' ? value : Buffer.from(value));
  }
  return result;
}

/**
 * A codec that leaves bytes alone: messages are encoded and decoded by whoever knows their type.
 */
export function toWire(message: Uint8Array): Buffer {
  return Buffer.from(message.buffer, message.byteOffset, message.byteLength);
}

/**
 * A plain Uint8Array, not a Buffer: decoded `bytes` fields are slices of it and inherit its class.
 */
export function fromWire(message: Buffer): Uint8Array {
  return new Uint8Array(message.buffer, message.byteOffset, message.byteLength);
}

export function assertMessageSize(message: Uint8Array): void {
  if (message.length > messageBytesMax) throw messageTooLarge(message.length);
}
