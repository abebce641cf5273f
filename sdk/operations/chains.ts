import type { RpcError } from '../errors.ts';
import type { Step } from './definition.ts';

/** The most chains that run at the same time. */
const parallelChainsMax = 16;

export type ChainOptions = {
  /** Does a step; returns its error. What it throws is no matter of the step and ends all. */
  readonly work: (step: Step) => Promise<RpcError | undefined>;
  /** Asked before each step: true ends the chain. */
  readonly halt: () => boolean;
  /** Called when `work` has thrown, to interrupt the other chains. */
  readonly broken: () => void;
};

/**
 * Runs chains at the same time, up to a limit, and waits for all that were begun. A chain ends at its first error.
 * Returns the first error; throws what `work` threw first.
 */
export async function runChains(
  chains: readonly (readonly Step[])[],
  { work, halt, broken }: ChainOptions,
): Promise<RpcError | undefined> {
  const waiting = [...chains];
  let first: RpcError | undefined;
  let thrown: { value: unknown } | undefined;

  const runChain = async (chain: readonly Step[]): Promise<void> => {
    for (const step of chain) {
      if (thrown !== undefined || halt()) return;
      try {
        const error = await work(step);
        first ??= error;
        if (error !== undefined) return;
      } catch (value) {
        thrown ??= { value };
        broken();
      }
    }
  };
  const runWaiting = async (): Promise<void> => {
    for (let chain = waiting.shift(); chain !== undefined; chain = waiting.shift()) {
      await runChain(chain);
    }
  };
  const count = Math.min(parallelChainsMax, chains.length);
  await Promise.all(Array.from({ length: count }, runWaiting));
  if (thrown !== undefined) throw thrown.value;
  return first;
}
