import { slotAt } from './layout.ts';
import { type Core, coreModule, createMemory, instantiate } from './load.ts';

let local: Core | undefined;

/**
 * The calling thread's own instance for small synchronous work, made on first use, with one slot.
 */
export function localCore(): Core {
  local ??= instantiate(coreModule(), createMemory(1, 1), 0);
  return local;
}

/** The slot of `localCore`. Its contents hold only until the next synchronous call. */
export const localSlot = slotAt(0, 1);
