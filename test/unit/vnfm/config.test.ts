import test from 'ava';
import { Code } from '../../../gen/google/rpc/code_pb.js';
import { DataTransport } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { parseConfig } from '../../../plugins/vnfm/config.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

test('parseConfig: what is left out has its default', (t) => {
  t.deepEqual(parseConfig({}), {
    ...{ vim: 'vim', nfvo: 'nfvo', repository: 'repository' },
    packageFolders: [],
    packageAddresses: [],
    archiveBytesMax: 256 * 2 ** 30,
    archiveKeepSeconds: 24 * 3600,
    archiveIdleSeconds: 300,
    grantEachVnfcPackage: false,
    resourceManagement: 'direct',
    transport: DataTransport.LOCAL_FILE,
  });
});

const refused = test.macro({
  title: (_given, path: string) => `parseConfig: a fault at ${path} is named`,
  exec: async (t, path: string, config: unknown) => {
    const error = await throwsRpc(t, async () => parseConfig(config), {
      code: Code.INVALID_ARGUMENT,
      reason: 'CONFIG_INVALID',
    });
    t.is(error.metadata.path, path);
  },
});

test(refused, 'vnfm', []);
test(refused, 'vnfm.vimm', { vimm: 'vim' });
test(refused, 'vnfm.vim', { vim: 7 });
test(refused, 'vnfm.packageFolders', { packageFolders: '/tmp' });
test(refused, 'vnfm.packageFolders[1]', { packageFolders: ['/a', 'b'] });
test(refused, 'vnfm.resourceManagement', { resourceManagement: 'both' });
test(refused, 'vnfm.transport', { transport: 'tape' });

test('parseConfig: disks are read over NBD where that is wanted', (t) => {
  t.is(parseConfig({ transport: 'nbd' }).transport, DataTransport.NBD);
});
