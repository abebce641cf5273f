import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { completed, finished, instantiated, startRig } from '../../support/vnfm/rig.ts';

/** The archives of the fake repository: small files are base64 texts by name. */
type Archive = { info: { kind: string }; files: [string, string][] };

const changed = test.macro({
  title: (_given, what: string) => `import: ${what}, and nothing is listed`,
  exec: async (t, _what: string, change: (archive: Archive) => void, problem: RegExp) => {
    const rig = await startRig(t);
    const vnfInstanceId = await instantiated(rig);
    const consistency = ConsistencyPolicy.PREFERRED;
    const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
    await completed(rig, taken.lifecycleOperationOccurrenceId);
    const { vnfSnapshotInfoId } = taken;
    const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    await completed(rig, packed.lifecycleOperationOccurrenceId);
    const { vnfSnapshotPkgId } = packed;
    const location = join(rig.folder, 'p.zip');
    const exported = await rig.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
    await completed(rig, exported.lifecycleOperationOccurrenceId);

    const archive = JSON.parse(await readFile(location, 'utf8')) as Archive;
    change(archive);
    await writeFile(location, JSON.stringify(archive));
    const other = await startRig(t);
    const arrived = join(other.folder, 'p.zip');
    await writeFile(arrived, JSON.stringify(archive));
    const imported = await other.packages.importVnfSnapshotPackage({ location: arrived });
    const end = await finished(other, imported.lifecycleOperationOccurrenceId);
    t.is(end.operationState, OperationState.ROLLED_BACK);
    t.is(end.error?.reason, 'PACKAGE_INVALID');
    t.regex(end.error?.detail ?? '', problem);
    t.is(other.repository.packages.size, 0, 'the repository forgot it again');
    t.deepEqual((await other.packages.queryVnfSnapshotPackageInfo({})).vnfSnapshotPkgInfos, []);
  },
});

/** Changes a JSON file in an archive. */
function edit(archive: Archive, name: string, work: (text: string) => string): void {
  const file = archive.files.find(([candidate]) => candidate === name)!;
  const text = Buffer.from(file[1], 'base64').toString();
  file[1] = Buffer.from(work(text)).toString('base64');
}

test(
  changed,
  'a package that holds no VNF snapshot is refused',
  (archive) => {
    archive.info.kind = 'PACKAGE_KIND_IMAGES';
  },
  /holds no VNF snapshot/,
);
test(
  changed,
  'a descriptor with a wrong reference is refused',
  (archive) => edit(archive, 'vnfd.json', (text) => text.replace('"small"', '"large"')),
  /vnfd\.json: .*virtualComputeDesc/,
);
test(
  changed,
  'a record that is not JSON is refused',
  (archive) => edit(archive, 'vnf-snapshot.json', (text) => text.slice(0, -5)),
  /vnf-snapshot\.json: /,
);
test(
  changed,
  'a component whose name would climb out of its folder is refused',
  (archive) =>
    edit(archive, 'vnf-snapshot.json', (text) =>
      text.replaceAll('"vnfcInstanceId": "gateway-0"', '"vnfcInstanceId": "../gateway-0"'),
    ),
  /vnfcInstanceId: "\.\.\/gateway-0" is no VNFC instance/,
);
