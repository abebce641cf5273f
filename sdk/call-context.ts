import { AsyncLocalStorage } from 'node:async_hooks';

/**
 * What a handler's own outgoing calls inherit from the call it serves: how far that call has come.
 * Kept by Node across awaits, so that no handler has to pass it on by hand.
 */
export type CallContext = { hops: number };

const storage = new AsyncLocalStorage<CallContext>();

/** Runs a handler; calls started inside carry on its hop count. */
export function runInCallContext<T>(context: CallContext, run: () => T): T {
  return storage.run(context, run);
}

/** Hops behind the call that is being served here; 0 outside of any. */
export function currentHops(): number {
  return storage.getStore()?.hops ?? 0;
}
