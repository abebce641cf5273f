import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 10;

/**
 * Waits until the condition gives something truthy, and returns it; fails with `what` after that
 * many milliseconds.
 */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  withinMs = 10_000,
): Promise<NonNullable<T>> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(pollMs);
  }
}
