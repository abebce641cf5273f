import test from 'ava';
import { RouteTable } from '../../../kernel/routing/route-table.ts';
import { Code } from '../../../sdk/errors.ts';
import { okStatus } from '../../../sdk/transport/status.ts';
import { echoDesc } from '../../support/echo-service.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const say = '/test.echo.v1.EchoService/Say';
const { service } = echoDesc([
  { producer: 'site', consumers: ['manager', 'direct'] },
  { producer: 'proxy', consumers: ['manager', 'customer'] },
]);

function tableOf(...instances: [instanceId: string, role: string][]): RouteTable {
  const table = new RouteTable();
  for (const [instanceId, role] of instances) {
    table.set({
      ...{ instanceId, role },
      services: new Map([[service.typeName, service]]),
      handle: async () => okStatus(),
    });
  }
  return table;
}

function route(table: RouteTable, role: string, target?: string, path = say): string {
  return table.resolve({ path, caller: { role, identity: 'x' }, target }).instance.instanceId;
}

test('routeTable: a call without a target goes to the only instance', (t) => {
  t.is(route(tableOf(['site-a', 'site']), 'manager'), 'site-a');
});

test('routeTable: without a target a call goes to the only instance that admits it', (t) => {
  const table = tableOf(['site-a', 'site'], ['broker', 'proxy']);
  t.is(route(table, 'direct'), 'site-a');
  t.is(route(table, 'customer'), 'broker');
});

test('routeTable: several that admit a call are TARGET_AMBIGUOUS and named', async (t) => {
  const table = tableOf(['site-a', 'site'], ['site-b', 'site'], ['broker', 'proxy']);
  const error = await throwsRpc(t, () => route(table, 'direct'), {
    code: Code.INVALID_ARGUMENT,
    reason: 'TARGET_AMBIGUOUS',
  });
  t.is(error.metadata.known, 'site-a, site-b');
});

test('routeTable: a target chooses among several', (t) => {
  t.is(route(tableOf(['site-a', 'site'], ['site-b', 'site']), 'direct', 'site-b'), 'site-b');
});

test('routeTable: an unknown target is NOT_FOUND and names the known ones', async (t) => {
  const table = tableOf(['site-a', 'site'], ['site-b', 'site']);
  const error = await throwsRpc(t, () => route(table, 'direct', 'site-c'), {
    code: Code.NOT_FOUND,
    reason: 'TARGET_UNKNOWN',
  });
  t.is(error.metadata.known, 'site-a, site-b');
});

test('routeTable: a role that no reference point admits is refused with their names', async (t) => {
  const error = await throwsRpc(t, () => route(tableOf(['site-a', 'site']), 'customer'), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
  t.is(error.metadata.reference_points, 'Test-1, Test-2');
});

test('routeTable: a target does not get around admission', async (t) => {
  const table = tableOf(['site-a', 'site'], ['broker', 'proxy']);
  await throwsRpc(t, () => route(table, 'customer', 'site-a'), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
});

test('routeTable: the exposure of a method replaces that of its service', async (t) => {
  const path = '/test.echo.v1.EchoService/Restricted';
  const table = tableOf(['site-a', 'site']);
  t.is(route(table, 'boss', undefined, path), 'site-a');
  await throwsRpc(t, () => route(table, 'manager', undefined, path), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
});

test('routeTable: a service that nobody serves is UNIMPLEMENTED', async (t) => {
  await throwsRpc(t, () => route(tableOf(), 'manager'), {
    code: Code.UNIMPLEMENTED,
    reason: 'SERVICE_UNKNOWN',
  });
});

test('routeTable: a method that the service does not have is UNIMPLEMENTED', async (t) => {
  const path = '/test.echo.v1.EchoService/Nothing';
  await throwsRpc(t, () => route(tableOf(['site-a', 'site']), 'manager', undefined, path), {
    code: Code.UNIMPLEMENTED,
    reason: 'METHOD_UNIMPLEMENTED',
  });
});

test('routeTable: a policy refuses what the reference points admit', async (t) => {
  const table = new RouteTable(({ caller, referencePoints }) =>
    caller.role === 'direct' && referencePoints.includes('Test-1') ? 'indirect mode' : undefined,
  );
  table.set({
    ...{ instanceId: 'site-a', role: 'site' },
    services: new Map([[service.typeName, service]]),
    handle: async () => okStatus(),
  });
  t.is(route(table, 'manager'), 'site-a');
  await throwsRpc(t, () => route(table, 'direct'), {
    code: Code.PERMISSION_DENIED,
    reason: 'POLICY',
  });
});
