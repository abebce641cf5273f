import { statusDetailsKey, statusOf } from '../../sdk/error-status.ts';
import { Code, unavailable } from '../../sdk/errors.ts';
import { deadlineIn } from '../../sdk/ports/deadline.ts';
import {
  type CallStatus,
  deadlineMsMax,
  type IncomingCall,
  type OutgoingCall,
  type Transport,
} from '../../sdk/transport/transport.ts';

/**
 * Carries a call of any kind over a transport, byte for byte: metadata, deadline, cancellation,
 * headers, status, details and trailers. It has ended only when the responses have ended *and* the
 * status is known.
 */
export async function forward(call: IncomingCall, transport: Transport): Promise<CallStatus> {
  const outgoing = transport.start({
    path: call.path,
    metadata: call.metadata,
    deadline: call.deadline ?? deadlineIn(deadlineMsMax),
    signal: call.signal,
  });
  sendRequests(call, outgoing).catch(() => outgoing.cancel());
  let headersSent = false;
  void outgoing.headers.then((headers) => {
    if (!headersSent && [...headers.entries()].length > 0) call.sendHeaders(headers);
    headersSent = true;
  });
  for await (const response of outgoing.responses) {
    await call.send(response);
    headersSent = true;
  }
  return outgoing.status;
}

async function sendRequests(call: IncomingCall, outgoing: OutgoingCall): Promise<void> {
  let over = false;
  void outgoing.status.then(() => {
    over = true;
  });
  for await (const request of call.requests) {
    if (over) return;
    await outgoing.send(request);
  }
  // Requests also end when the call breaks; a half close then would look like the end of the
  // caller's data.
  if (call.signal.aborted) outgoing.cancel();
  else outgoing.halfClose();
}

/**
 * A connection that broke has no details of its own: says which plugin is gone, so that a caller
 * can tell a dead plugin from a plugin that answers UNAVAILABLE.
 */
export function namePlugin(status: CallStatus, instanceId: string): CallStatus {
  if (status.code !== Code.UNAVAILABLE) return status;
  if (status.trailers.getBytes(statusDetailsKey)) return status;
  const text = `the plugin ${instanceId} cannot be reached: ${status.message}`;
  return statusOf(unavailable('PLUGIN_UNAVAILABLE', text, { target: instanceId, state: 'DOWN' }));
}
