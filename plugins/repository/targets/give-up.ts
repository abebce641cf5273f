import { Code, RpcError } from '../../../sdk/errors.ts';
import type { BlockTarget } from './target.ts';

/**
 * Ends a file that is not whole after this error. With `keepPartial` it is kept for a repetition,
 * but for one without hope: a damaged package stays damaged. A full disk is not left full.
 */
export async function giveUp(
  target: Pick<BlockTarget, 'abort' | 'suspend'>,
  error: unknown,
  keepPartial = false,
): Promise<void> {
  const { code } = RpcError.from(error);
  const isFinal = [Code.RESOURCE_EXHAUSTED, Code.DATA_LOSS, Code.ALREADY_EXISTS].includes(code);
  if (keepPartial && !isFinal && target.suspend) await target.suspend();
  else await target.abort();
}
