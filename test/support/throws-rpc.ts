import type { ExecutionContext } from 'ava';
import { type Code, RpcError } from '../../sdk/errors.ts';

/** Asserts that a call fails with an RpcError of this code *and* this reason; returns it. */
export async function throwsRpc(
  t: ExecutionContext,
  call: Promise<unknown> | (() => unknown),
  expected: { code: Code; reason: string },
): Promise<RpcError> {
  let thrown: unknown;
  try {
    await (typeof call === 'function' ? call() : call);
  } catch (error) {
    thrown = error;
  }
  t.true(thrown instanceof RpcError, `expected an RpcError, got ${String(thrown)}`);
  const error = thrown as RpcError;
  t.deepEqual({ code: error.code, reason: error.reason }, expected, error.message);
  return error;
}
