import {
  deadlineExceeded,
  failedPrecondition,
  internal,
  notFound,
  RpcError,
  resourceExhausted,
  unavailable,
  unimplemented,
} from '../../../sdk/errors.ts';
import { GuestAgentError } from './channels/guest-agent.ts';
import { ChannelError } from './channels/json-lines.ts';
import { QmpError } from './channels/qmp-client.ts';
import { VnfChannelError } from './channels/vnf-channel.ts';
import { ToolError } from './host/process.ts';

/** Words in which QEMU, its tools and the kernel say that a disk is full. */
const fullPattern = /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/;

/**
 * Turns the errors of the lower layers into what the contract of the driver names. What it does not
 * know it returns as it is: the server logs that and hides it.
 */
export function toRpcError(error: unknown): unknown {
  if (error instanceof RpcError) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (fullPattern.test(text)) {
    return resourceExhausted(
      'STORE_FULL',
      `a disk of the driver is full: ${text}; make room, then retry`,
    );
  }
  if (error instanceof ChannelError && error.failure === 'DEADLINE') {
    return deadlineExceeded('HYPERVISOR_SILENT', text);
  }
  if (error instanceof ChannelError) return unavailable('HYPERVISOR_GONE', text);
  if (error instanceof GuestAgentError) return unavailable('GUEST_AGENT_REFUSED', text);
  if (error instanceof VnfChannelError) return unavailable('VNF_REFUSED', text);
  if (error instanceof QmpError) {
    return internal('HYPERVISOR_REFUSED', text, { command: error.command });
  }
  if (error instanceof ToolError) return internal('TOOL_FAILED', text, { program: error.program });
  return error;
}

/** An agent that does not answer, or not in time. Everything else stays what it is. */
export function agentError(error: unknown, computeId: string): unknown {
  if (!(error instanceof ChannelError)) return error;
  const text = `the guest agent of ${computeId} does not answer: ${error.message}`;
  return unavailable('GUEST_AGENT_SILENT', text, { compute_id: computeId });
}

export const unknownCompute = (id: string) =>
  notFound('COMPUTE_UNKNOWN', `there is no compute resource "${id}"`, { compute_id: id });
export const unknownVolume = (id: string) =>
  notFound('VOLUME_UNKNOWN', `there is no volume "${id}"`, { volume_id: id });
export const unknownNetwork = (id: string) =>
  notFound('NETWORK_UNKNOWN', `there is no network "${id}"`, { network_id: id });
export const unknownSnapshot = (id: string) =>
  notFound('SNAPSHOT_UNKNOWN', `there is no snapshot "${id}"`, { snapshot_id: id });

export const wrongState = (computeId: string, state: string, wanted: string) =>
  failedPrecondition('COMPUTE_STATE', `${computeId} is ${state}; this needs ${wanted}`, {
    compute_id: computeId,
    state,
    wanted,
  });

export const capabilityMissing = (capability: string, reason: string) =>
  unimplemented('CAPABILITY_MISSING', `the qemu driver cannot: ${reason}`, { capability });
