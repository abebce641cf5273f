import type { CallMetadata } from './metadata.ts';
import { okStatus } from './status.ts';
import type { CallStatus } from './transport.ts';

/**
 * The client of grpc-js drops every message that nobody has read yet when the status of an error
 * arrives (grpc-node #2764); it keeps them when the status is OK. So this client asks its server to
 * end a call that failed with OK and to put the status of the error into a trailer. A server that
 * does not know the question ends the call as usual, and a client that does not ask gets the usual
 * end: both may be of any language.
 */
const askKey = 'nfv-late-status';
const trailerKey = 'nfv-late-status-bin';

/** Called on the metadata of a call by its client. */
export function askForLateStatus(metadata: CallMetadata): void {
  metadata.set(askKey, '1');
}

/** Whether the client of a call asked. The question is taken out: it is for one hop alone. */
export function takeLateStatusAsked(metadata: CallMetadata): boolean {
  const asked = metadata.get(askKey) !== undefined;
  metadata.delete(askKey);
  return asked;
}

/** The status to send to a client that asked. */
export function toLateStatus(status: CallStatus): CallStatus {
  if (status.code === 0) return status;
  const text = new TextEncoder().encode(`${status.code} ${status.message}`);
  return okStatus(status.trailers.clone().set(trailerKey, text));
}

/** The status that a client received, as its server meant it. */
export function fromLateStatus(status: CallStatus): CallStatus {
  const bytes = status.trailers.getBytes(trailerKey);
  const [, code, message] = /^(\d+) (.*)$/s.exec(new TextDecoder().decode(bytes)) ?? [];
  if (code === undefined || message === undefined) return status;
  return { code: Number(code), message, trailers: status.trailers.clone().delete(trailerKey) };
}
