import test from 'ava';
import { dependencyOrder } from '../../../kernel/dependency-order.ts';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

function plugin(instanceId: string, dependsOn: string[] = [], role = 'any') {
  return { instanceId, name: `${instanceId}-name`, role, dependsOn };
}

function order(...plugins: ReturnType<typeof plugin>[]): string {
  return dependencyOrder(plugins)
    .map(({ instanceId }) => instanceId)
    .join(' ');
}

test('dependencyOrder: without dependencies the given order stays', (t) => {
  t.is(order(plugin('b'), plugin('a'), plugin('c')), 'b a c');
});

test('dependencyOrder: a plugin comes after what it depends on, by id, name or role', (t) => {
  t.is(order(plugin('a', ['b']), plugin('b', ['c-name']), plugin('c')), 'c b a');
  t.is(
    order(plugin('a', ['driver']), plugin('b', [], 'driver'), plugin('c', [], 'driver')),
    'b c a',
  );
});

test('dependencyOrder: a missing dependency is named', async (t) => {
  const error = await throwsRpc(t, () => order(plugin('a', ['ghost'])), {
    code: Code.FAILED_PRECONDITION,
    reason: 'DEPENDENCY_UNMET',
  });
  t.deepEqual(error.metadata, { instance_id: 'a', depends_on: 'ghost' });
});

test('dependencyOrder: a circle is refused and shown', async (t) => {
  const circle = () => order(plugin('a', ['b']), plugin('b', ['c']), plugin('c', ['a']));
  const error = await throwsRpc(t, circle, {
    code: Code.FAILED_PRECONDITION,
    reason: 'DEPENDENCY_UNMET',
  });
  t.is(error.metadata.depends_on, 'a → b → c → a');
});
