import { CallMetadata } from './metadata.ts';
import type { CallStatus } from './transport.ts';

/** The status of a call that went well. */
export function okStatus(trailers: CallMetadata = new CallMetadata()): CallStatus {
  return { code: 0, message: '', trailers };
}
