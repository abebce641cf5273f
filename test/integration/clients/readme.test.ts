import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { codeBlock, page, projectFolder } from '../../support/clients/documents.ts';
import { commandMsMax, run } from '../../support/clients/served.ts';
import { problems } from '../../support/system/checker.ts';
import { SystemRig } from '../../support/system/system-rig.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** Runs commands of README.md as they stand, but in a folder of the test, and after them some questions. */
async function type(t: ExecutionContext, folder: string, commands: string, questions = '') {
  for (const name of ['mano', 'app']) {
    await symlink(join(projectFolder, name), join(folder, name));
  }
  const script = [
    'set -eu',
    `cd '${folder}'`,
    // The servers that were started in the background end with the shell.
    "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT",
    commands.replaceAll(/ \/(backup|restore|var\/lib)\b/g, ` ${folder}/$1`),
    questions,
  ].join('\n');
  const moved = script.replaceAll('=/var/lib/', `=${folder}/var/lib/`);
  const ended = await run('bash', ['-c', moved], { MANO_DATA: '', MANO_CONNECT: '' });
  t.is(ended.code, 0, ended.stderr);
  return ended.stdout;
}

test.serial(
  'the commands of "Run it" bring a VNF back, here and on a second Micromano',
  async (t) => {
    t.timeout(commandMsMax);
    const folder = await tempFolder(t);
    const here = codeBlock('README.md', 'sh', 'package export');
    const there = codeBlock('README.md', 'sh', 'package import');
    const questions = './mano snapshot list --json; ./mano package show gw-1 --json';
    const output = await type(t, folder, `${here}\n${there}`, questions);
    const [snapshots, shown] = output
      .trimEnd()
      .split('\n')
      .slice(-2)
      .map((line) => JSON.parse(line));
    t.regex(output, /6\.5\.1 \(9\) .* VNF_CONFIRMED/);
    t.is(output.match(/6\.4\.3 \(13, 17\) +vnfm → vim +✓ revert (gateway|database)-0/g)?.length, 4);
    t.is(output.match(/^operation \S+ COMPLETED/gm)?.length, 9);
    t.like(snapshots.snapshots, [{ vnfSnapshot: { name: 'before-change' } }]);
    t.is(snapshots.snapshots.length, 1);
    t.like(shown.package, { name: 'gw-1', state: 'PACKAGE_STATE_AVAILABLE', parentPkgId: '' });
  },
);

test.serial(
  'the commands of "Pack disk images" pack, find changes, restore and verify',
  async (t) => {
    t.timeout(commandMsMax);
    const folder = await tempFolder(t);
    await writeFile(join(folder, 'disk.raw'), Buffer.alloc(20 * blockSize, 'disk'));
    // The disk changes before each of the two later packages; the map tells of the last change.
    await writeFile(
      join(folder, 'map.json'),
      JSON.stringify([{ start: 7 * blockSize, length: 4 }]),
    );
    const [monday, tuesday, wednesday, ...rest] = codeBlock('README.md', 'sh', 'mano unpack').split(
      '\n',
    );
    const days = [monday, change(3), tuesday, change(7), wednesday, ...rest];
    const questions =
      'cmp disk.raw restore/disk.raw && ./mano diff monday wednesday --store backup/store --json';
    const output = await type(t, folder, days.join('\n'), questions);
    t.regex(output, /^4 packages, .*: whole$/m);
    t.regex(output, /^0 damaged; .* nothing is left$/m);
    const { images } = JSON.parse(output.trimEnd().split('\n').at(-1)!);
    t.deepEqual(images[0].ranges, [
      { start: 3 * blockSize, length: blockSize },
      { start: 7 * blockSize, length: blockSize },
    ]);
  },
);

const blockSize = 65536;

function change(block: number): string {
  return `printf new! | dd of=disk.raw bs=${blockSize} seek=${block} conv=notrunc status=none`;
}

test.serial(
  'the granting policy of README.md refuses a revert, and the VNF stays as it is',
  async (t) => {
    t.timeout(commandMsMax);
    const [, line] = /^ {2}`(\{"version": 1, "nfvo".*\})`$/m.exec(page('README.md')) ?? [];
    const rig = await SystemRig.open(t, 'wasmvm', JSON.parse(String(line)));
    await rig.instantiate();
    const taken = await rig.createSnapshot();
    await rig.completed(taken.lifecycleOperationOccurrenceId);
    const { lifecycleOperationOccurrenceId: id } = await rig.revert(taken.vnfSnapshotInfoId);
    const { operationState, error } = await rig.ended(id);
    t.is(operationState, OperationState.ROLLED_BACK);
    t.is(error?.reason, 'GRANT_REFUSED');
    t.regex(error?.detail ?? '', /change freeze/);
    const expected = { snapshots: [taken.vnfSnapshotInfoId], packages: [], archives: [] };
    t.deepEqual(await problems(rig, expected), []);
  },
);

test.serial('the way of README.md to look around lists the services', async (t) => {
  t.timeout(commandMsMax);
  const [, line] = /^`(node_modules\/\.bin\/buf curl .*)`\.$/m.exec(page('README.md')) ?? [];
  const rig = await SystemRig.open(t, 'wasmvm');
  const ended = await run('sh', ['-c', String(line).replaceAll('DIR', rig.folder)]);
  t.is(ended.code, 0, ended.stderr);
  t.regex(ended.stdout, /^nfv\.vnf_lcm\.v1\.VnfLcmService/m);
});
