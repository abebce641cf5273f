import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Reason } from '../../../gen/nfv/kernel/v1/reason_pb.js';

const root = new URL('../../..', import.meta.url).pathname;
const errors = readFileSync(join(root, 'sdk/errors.ts'), 'utf8');
const names = [...errors.matchAll(/export const (\w+) = maker/g)].map((match) => match[1]);
const makers = new RegExp(
  `(?:invalidArgument|${names.join('|')}|RpcError\\(\\s*Code\\.\\w+,)\\(?\\s*'([A-Z_]+)'`,
  'g',
);

function reasonsIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => [...readFileSync(join(root, folder, name), 'utf8').matchAll(makers)])
    .map((match) => match[1] as string);
}

test('reasons: every reason that the kernel gives is a documented value of the enum', (t) => {
  const used = new Set([...reasonsIn('kernel'), ...reasonsIn('sdk/transport')]);
  t.true(used.size > 15, 'the search finds them');
  t.deepEqual([...used].filter((reason) => !(reason in Reason)).sort(), []);
});
