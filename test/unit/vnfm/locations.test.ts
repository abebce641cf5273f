import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Code } from '../../../gen/google/rpc/code_pb.js';
import { checkSource, checkTarget } from '../../../plugins/vnfm/locations.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const refused = { code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' };

test('checkTarget: a file in an allowed folder is accepted, one beside it is not', async (t) => {
  const folder = await tempFolder(t);
  await mkdir(join(folder, 'in'));
  t.is(
    await checkTarget(join(folder, 'in', 'p.zip'), [join(folder, 'in')]),
    join(folder, 'in', 'p.zip'),
  );
  await throwsRpc(t, checkTarget(join(folder, 'p.zip'), [join(folder, 'in')]), refused);
  await throwsRpc(t, checkTarget(join(folder, 'in-side.zip'), [join(folder, 'in')]), refused);
});

test('checkTarget: a link in an allowed folder does not lead out of it', async (t) => {
  const folder = await tempFolder(t);
  await mkdir(join(folder, 'in'));
  await mkdir(join(folder, 'out'));
  await symlink(join(folder, 'out'), join(folder, 'in', 'link'));
  await throwsRpc(
    t,
    checkTarget(join(folder, 'in', 'link', 'p.zip'), [join(folder, 'in')]),
    refused,
  );
});

test('checkSource: a link to a file outside is refused, a file inside is read', async (t) => {
  const folder = await tempFolder(t);
  await mkdir(join(folder, 'in'));
  await writeFile(join(folder, 'secret'), 's');
  await writeFile(join(folder, 'in', 'p.zip'), 'p');
  await symlink(join(folder, 'secret'), join(folder, 'in', 'q.zip'));
  const folders = [join(folder, 'in')];
  t.is(await checkSource(join(folder, 'in', 'p.zip'), folders), join(folder, 'in', 'p.zip'));
  await throwsRpc(t, checkSource(join(folder, 'in', 'q.zip'), folders), refused);
});

test('checkTarget: without configured folders nothing is allowed, with "/" everything', async (t) => {
  const folder = await tempFolder(t);
  await throwsRpc(t, checkTarget(join(folder, 'p.zip'), []), refused);
  t.is(await checkTarget(join(folder, 'p.zip'), ['/']), join(folder, 'p.zip'));
});
