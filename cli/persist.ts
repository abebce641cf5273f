import { Code, isRpcError } from '../sdk/errors.ts';

const triesMax = 20;
const pauseMs = 500;

/**
 * Does work again that a lost connection has broken off, until it has got no further so many times.
 * `position` says how far it is.
 */
export async function persist<T>(work: () => Promise<T>, position: () => number): Promise<T> {
  let reached = -1;
  for (let tries = 0; ; tries++) {
    try {
      return await work();
    } catch (thrown) {
      const passes =
        isRpcError(thrown, 'ARCHIVE_BUSY') ||
        isRpcError(thrown, Code.UNAVAILABLE) ||
        isRpcError(thrown, Code.DEADLINE_EXCEEDED);
      if (position() > reached) tries = 0;
      reached = Math.max(reached, position());
      if (!passes || tries >= triesMax) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
