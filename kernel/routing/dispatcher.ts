import { currentHops, runInCallContext } from '../../sdk/call-context.ts';
import { statusOf } from '../../sdk/error-status.ts';
import {
  failedPrecondition,
  isRpcError,
  RpcError,
  unauthenticated,
  unavailable,
} from '../../sdk/errors.ts';
import type { Caller } from '../../sdk/transport/peer-identity.ts';
import {
  type ByteHandler,
  type CallStatus,
  callerIdentityKey,
  callerRoleKey,
  hopsKey,
  type IncomingCall,
  targetKey,
} from '../../sdk/transport/transport.ts';
import type { RouteDecision, RouteTable } from './route-table.ts';
import { draining, type RunningCall, type RunningCalls } from './running-calls.ts';

export type DispatcherOptions = {
  routes: RouteTable;
  running: RunningCalls;
  hopsMax: number;
  /** True for the role of a plugin: such a caller may be in the middle of a call it serves. */
  isPluginRole: (role: string) => boolean;
};

/** The way of every call: who calls → may it → where to → stamp → hand over. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  /**
   * starting: what is not known yet may come; draining: calls from outside are refused, and those
   * of plugins go on, so that running calls can finish.
   */
  phase: 'starting' | 'serving' | 'draining' = 'starting';

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /**
   * Serves the calls of one caller in this process: of a plugin, or of somebody outside the
   * plugins.
   */
  handlerFor(caller: Caller, outside: boolean): ByteHandler {
    return (call) => this.#dispatch(call, caller, currentHops(), outside);
  }

  /**
   * Serves a call that came over a connection; `caller` is undefined when that does not say who
   * calls.
   */
  serve(call: IncomingCall, caller: Caller | undefined): Promise<CallStatus> {
    const outside = !caller || !this.#options.isPluginRole(caller.role);
    // Only a plugin can be in the middle of a chain of calls: what others say about hops is not
    // read.
    return this.#dispatch(call, caller, outside ? 0 : carriedHops(call), outside);
  }

  async #dispatch(
    call: IncomingCall,
    caller: Caller | undefined,
    hopsBefore: number,
    outside: boolean,
  ): Promise<CallStatus> {
    try {
      if (!caller) throw callerUnknown();
      if (this.phase === 'draining' && outside) throw draining();
      const hops = hopsBefore + 1;
      if (hops > this.#options.hopsMax) throw hopLimit(this.#options.hopsMax);
      const route = this.#route(call, caller);
      const { methodKind } = route.method;
      const endless = methodKind === 'server_streaming' || methodKind === 'bidi_streaming';
      const running = this.#options.running.add({ endless, outside });
      const stamped = stamp(call, caller, hops);
      return await runInCallContext({ hops }, () => run(stamped, route.instance.handle, running));
    } catch (thrown) {
      return statusOf(RpcError.from(thrown));
    }
  }

  #route(call: IncomingCall, caller: Caller): RouteDecision {
    const target = call.metadata.get(targetKey);
    try {
      return this.#options.routes.resolve({ path: call.path, caller, target });
    } catch (thrown) {
      const unknown = isRpcError(thrown, 'SERVICE_UNKNOWN') || isRpcError(thrown, 'TARGET_UNKNOWN');
      if (this.phase !== 'starting' || !unknown) throw thrown;
      const text = `the kernel is still starting: ${thrown.message}`;
      throw unavailable('KERNEL_STARTING', text, { ...thrown.metadata });
    }
  }
}

async function run(
  call: IncomingCall,
  handle: ByteHandler,
  running: RunningCall,
): Promise<CallStatus> {
  const signal = AbortSignal.any([call.signal, running.signal]);
  try {
    return await Promise.race([handle({ ...call, signal }), running.cut]);
  } finally {
    running.done();
  }
}

function carriedHops(call: IncomingCall): number {
  const text = call.metadata.get(hopsKey) ?? '';
  return /^\d{1,3}$/.test(text) ? Number(text) : 0;
}

/** Replaces whatever the caller wrote about itself. */
function stamp(call: IncomingCall, caller: Caller, hops: number): IncomingCall {
  const metadata = call.metadata
    .clone()
    .set(callerRoleKey, caller.role)
    .set(callerIdentityKey, caller.identity)
    .set(hopsKey, String(hops));
  return { ...call, metadata };
}

function callerUnknown(): RpcError {
  const text =
    'the connection does not say who calls: use a client certificate whose URI name is ' +
    'urn:micromano:ROLE:NAME, or the local socket of a role';
  return unauthenticated('CALLER_UNKNOWN', text);
}

function hopLimit(limit: number): RpcError {
  const text = `the call passed more than ${limit} plugins: they call one another in a circle`;
  return failedPrecondition('HOP_LIMIT', text, { limit: String(limit) });
}
