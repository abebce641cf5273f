import test from 'ava';
import { checkOutsidePlugins } from '../../../app/outside-plugins.ts';

const refuse = (path: string, text: string) => new Error(`${path}: ${text}`);
const plugin = { instanceId: 'd', role: 'nfvi' };

test('plugins of a site: a command, a socket and an address with certificates are taken', (t) => {
  const tls = { ca: 'a', certificate: 'b', key: 'c' };
  const list = [
    { ...plugin, command: ['python3', 'driver.py'], config: { a: 1 } },
    { ...plugin, address: 'unix:/run/d.sock' },
    { ...plugin, address: 'host:1', tls },
  ];
  t.deepEqual(checkOutsidePlugins(list, refuse), list);
});

const wrong: [string, unknown, string][] = [
  ['that is no list', {}, 'plugins: must be a list'],
  ['with a number in it', [3], 'plugins[0]: must be an object'],
  ['with an unknown field', [{ ...plugin, adress: 'x' }], 'plugins[0].adress: is not known'],
  ['without a role', [{ instanceId: 'd', command: ['x'] }], 'plugins[0].role: must be a text'],
  ['with neither way', [plugin], 'plugins[0]: must have either'],
  ['with both ways', [{ ...plugin, command: ['x'], address: 'y' }], 'plugins[0]: must have either'],
  ['with an empty command', [{ ...plugin, command: [] }], 'plugins[0].command: must be a list'],
  ['with half a certificate', [{ ...plugin, address: 'h:1', tls: { ca: 'a' } }], 'plugins[0].tls:'],
];

for (const [name, value, message] of wrong) {
  test(`plugins of a site: a list ${name} is refused with the path of the field`, (t) => {
    const error = t.throws(() => checkOutsidePlugins(value, refuse));
    t.true(error.message.startsWith(message), error.message);
  });
}
