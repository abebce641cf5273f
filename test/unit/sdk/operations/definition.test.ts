import test from 'ava';
import { Code } from '../../../../sdk/errors.ts';
import type { Step } from '../../../../sdk/operations/engine.ts';
import { define, openStore, startEngine, World } from '../../../support/operations.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

for (const [why, steps] of [
  ['two steps of one name', (world: World) => [world.step('a'), world.step('a')]],
  ['a hold without compensate', () => [withoutUndo({ hold: true })]],
  ['a starting step after another', () => [withoutUndo({}, 'a'), withoutUndo({ starting: true })]],
  ['a starting step with an effect', (world: World) => [world.step('a', { starting: true })]],
  ['a release of no earlier hold', () => [withoutUndo({ always: true, releases: ['x'] })]],
] as [string, (world: World) => Step[]][]) {
  test(`engine: ${why} is refused as a mistake of the definition`, async (t) => {
    const engine = await startEngine(t, await openStore(t), [define(() => steps(new World()))]);
    await throwsRpc(t, engine.accept({ definition: 'test', input: {} }), {
      code: Code.INTERNAL,
      reason: 'OPERATION_DEFINITION',
    });
  });
}

function withoutUndo(more: Partial<Step>, name = 's'): Step {
  const { compensate: _, ...step } = new World().step(name);
  return { ...step, ...more };
}
