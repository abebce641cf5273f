import test from 'ava';
import { checkHosts } from '../../../app/hosts.ts';

const refuse = (path: string, text: string) => new Error(`${path}: ${text}`);
const host = { name: 'rack-2', kind: 'qemu' };
const check = (value: unknown) => checkHosts(value, ['wasmvm', 'qemu'], refuse);

test('hosts of a site: further instances of the built-in drivers are taken', (t) => {
  t.notThrows(() => check([host, { ...host, name: 'rack-3', config: { accelerator: 'tcg' } }]));
});

const wrong: [string, unknown, string][] = [
  ['that is no list', {}, 'hosts: must be a list'],
  ['with a number in it', [3], 'hosts[0]: must be an object'],
  ['with an unknown field', [{ ...host, kinds: 'x' }], 'hosts[0].kinds: is not known'],
  ['with a name that is a path', [{ ...host, name: '../x' }], 'hosts[0].name: must be 1 to 32'],
  ['with the name of a kind', [{ ...host, name: 'qemu' }], 'hosts[0].name: "qemu" is another'],
  ['with a name twice', [host, host], 'hosts[1].name: "rack-2" is another'],
  [
    'with an unknown kind',
    [{ ...host, kind: 'xen' }],
    'hosts[0].kind: must be one of wasmvm, qemu',
  ],
  [
    'with a text for its settings',
    [{ ...host, config: 'x' }],
    'hosts[0].config: must be an object',
  ],
];

for (const [name, value, message] of wrong) {
  test(`hosts of a site: a list ${name} is refused with the path of the field`, (t) => {
    const error = t.throws(() => check(value));
    t.true(error.message.startsWith(message), error.message);
  });
}
