import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { manoFails, manoOk } from '../../support/cli/mano.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const program = join(import.meta.dirname, '../../../cli/main.ts');

test.serial(
  'mano: healing, indicators, purposes, approvals and following all operations',
  async (t) => {
    t.timeout(180_000);
    const folder = join(await tempFolder(t), 's');
    const ask = { name: 'eyes', operations: ['CREATE_SNAPSHOT'], decision: 'ask' };
    const site = await Site.start('test', folder, {
      ...{ version: 1, drivers: ['wasmvm'], nfvo: { policy: { rules: [ask] } } },
    });
    t.teardown(() => site.stop());
    const lab = new Lab(site, () => {});
    t.teardown(() => lab.clean());
    const { id: vnf } = await lab.instantiate('wasmvm', false);
    await lab.agent(await lab.vnf(vnf));
    const mano = async (...args: string[]) => {
      const { stdout } = await manoOk(t, folder, [...args, '--data', folder, '--json']);
      return JSON.parse(stdout.trim().split('\n').at(-1)!);
    };

    const watch = spawn(process.execPath, [program, 'operation', 'watch', '--data', folder]);
    t.teardown(() => watch.kill());
    const heard: string[] = [];
    createInterface({ input: watch.stdout }).on('line', (line) => heard.push(line));
    await once(createInterface({ input: watch.stderr }), 'line');

    const healed = await mano('vnf', 'heal', vnf, '--cause', 'a look');
    t.is(healed.operation.result.action, 'nothing');
    await eventually('the end is heard', () => heard.some((line) => /HEAL COMPLETED/.test(line)));

    await mano('vnf', 'indicator', 'report', vnf, 'health', 'degraded', '--detail', 'slow');
    const { indicators } = await mano('vnf', 'indicator', 'list', vnf);
    t.like(indicators[0], { id: 'health', value: 'degraded', detail: 'slow' });

    const { operation } = await mano(
      'snapshot',
      'create',
      vnf,
      '--purpose',
      'recovery',
      '--no-wait',
    );
    const id = typeof operation === 'string' ? operation : operation.id;
    await eventually(
      'it waits',
      async () => (await mano('grant', 'list')).pendingGrants.length === 1,
      20_000,
    );
    t.is((await mano('grant', 'list')).pendingGrants[0].id, id);
    t.deepEqual(await mano('grant', 'approve', id), { decided: id, granted: true });
    const done = await mano('operation', 'watch', id);
    t.is(done.operation.operationState, 'OPERATION_STATE_COMPLETED');
    const { grant } = await mano('grant', 'show', done.operation.grantId);
    t.is(grant.rule, 'eyes');

    const data = ['--data', folder];
    const refused: [string[], { code: number; reason: string; text: RegExp }][] = [
      [
        ['vnf', 'heal', vnf, '--action', 'pray', ...data],
        { code: 2, reason: 'USAGE', text: /must be decide, / },
      ],
      [
        ['grant', 'refuse', 'nobody', ...data],
        { code: 3, reason: 'GRANT_UNKNOWN', text: /no request "nobody"/ },
      ],
      [
        ['scenario', 'cold-fusion'],
        { code: 2, reason: 'USAGE', text: /there is no scenario "cold-fusion"/ },
      ],
      [
        ['scenario', 'online-testing', '--failure', 'flood'],
        { code: 2, reason: 'USAGE', text: /must be one of stop, crash/ },
      ],
    ];
    for (const [args, expected] of refused) await manoFails(t, folder, args, expected);
  },
);
