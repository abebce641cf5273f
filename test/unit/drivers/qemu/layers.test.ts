import test from 'ava';
import {
  chainOf,
  type Layers,
  layersAbove,
  nextTidyStep,
} from '../../../../plugins/drivers/qemu/disks/layers.ts';

/** "b>a" is layer b on a. */
function layers(...edges: string[]): Layers {
  return new Map(
    edges.map((edge) => {
      const [layerId, parentId] = edge.split('>') as [string, string | undefined];
      const parent = parentId === undefined ? {} : { parentId };
      return [layerId, { layerId, format: 'qcow2', sizeBytes: 512, ...parent }];
    }),
  );
}

const none = new Set<string>();

/** Tidies to the end in memory; returns what is left as edges. */
function tidied(tree: Layers, used: string[], pinned: string[] = []): string[] {
  const left = new Map(tree);
  for (;;) {
    const step = nextTidyStep(left, new Set(used), new Set(pinned));
    if (!step) break;
    if (step.kind === 'absorb') {
      left.set(step.childId, { ...left.get(step.childId)!, parentId: step.newParentId });
    }
    left.delete(step.layerId);
  }
  return [...left.values()].map(({ layerId, parentId }) =>
    parentId === undefined ? layerId : `${layerId}>${parentId}`,
  );
}

test('chainOf: the top comes first and the bottom last', (t) => {
  const chain = chainOf(layers('a', 'b>a', 'c>b'), 'c');
  t.deepEqual(
    chain.map(({ layerId }) => layerId),
    ['c', 'b', 'a'],
  );
});

test('chainOf: a circle and a missing parent are reported, not followed', (t) => {
  t.throws(() => chainOf(layers('a>b', 'b>a'), 'a'), { message: /circle/ });
  t.throws(() => chainOf(layers('b>a'), 'b'), { message: /layer a .* no record/ });
});

test('layersAbove: it counts the layers between, and tells a stranger from an ancestor', (t) => {
  const tree = layers('a', 'b>a', 'c>b', 'x>a');
  t.is(layersAbove(tree, 'a', 'c'), 2);
  t.is(layersAbove(tree, 'c', 'c'), 0);
  t.is(layersAbove(tree, 'x', 'c'), undefined);
});

test('nextTidyStep: a layer between snapshots that were deleted is absorbed by its only child', (t) => {
  t.deepEqual(nextTidyStep(layers('a', 'b>a', 'c>b'), new Set(['c']), none), {
    kind: 'absorb',
    childId: 'c',
    layerId: 'b',
    newParentId: 'a',
  });
});

test('nextTidyStep: a branch that nothing points at is removed from its top down', (t) => {
  t.deepEqual(tidied(layers('a', 'b>a', 'x>b', 'y>x', 'c>b'), ['c', 'b']), ['a', 'b>a', 'c>b']);
});

test('nextTidyStep: a layer with two children, a used one and the bottom stay', (t) => {
  const tree = layers('a', 'b>a', 'c>b', 'd>b');
  t.is(nextTidyStep(tree, new Set(['c', 'd']), none), undefined);
  t.is(nextTidyStep(layers('a', 'b>a'), new Set(['b']), none), undefined);
  t.is(nextTidyStep(layers('a', 'b>a', 'c>b'), new Set(['b', 'c']), none), undefined);
});

test('nextTidyStep: what somebody reads is neither absorbed, nor absorbing, nor removed', (t) => {
  const tree = layers('a', 'b>a', 'c>b');
  t.is(nextTidyStep(tree, new Set(['c']), new Set(['b'])), undefined);
  t.is(nextTidyStep(tree, new Set(['c']), new Set(['c'])), undefined);
  t.is(nextTidyStep(layers('a', 'b>a'), new Set(['a']), new Set(['b'])), undefined);
});

test('nextTidyStep: after all snapshots are gone a chain has two layers, whatever its length was', (t) => {
  const edges = ['l0', ...Array.from({ length: 30 }, (_, index) => `l${index + 1}>l${index}`)];
  t.deepEqual(tidied(layers(...edges), ['l30']), ['l0', 'l30>l0']);
});
