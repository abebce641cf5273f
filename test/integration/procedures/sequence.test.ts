import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { VnfLifecycleOperationGrantingService } from '../../../gen/nfv/grant/v1/grant_pb.js';
import {
  type LifecycleOperationOccurrence,
  type OperationStep,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  PowerOff,
  SnapshotType,
  VnfcSnapshotDescriptorSchema,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { eventually } from '../../support/eventually.ts';
import { type Block, procedures, type ReportStep } from '../../support/report/steps.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';
import { taken } from './taken.ts';

/** What a block does within itself it may have done by a block that the report does not mention. */
const helpers: readonly string[] = ['vnfm', 'vim', 'repository'];

function reportStep(t: ExecutionContext, { clause }: OperationStep, number: string): ReportStep {
  const found = procedures[clause]?.steps.find((step) => step.number === number);
  if (!found) t.fail(`the report has no step ${number} in clause ${clause}`);
  return found!;
}

/** The steps of an operation that the report knows, by clause and VNFC, each with its numbers. */
function told(t: ExecutionContext, { steps }: LifecycleOperationOccurrence) {
  const rows = new Map<string, string[]>();
  for (const step of steps) {
    if (step.clause === 'Micromano') {
      t.is(step.clauseStep, '', step.name);
      continue;
    }
    t.is(step.state, StepState.DONE, step.name);
    const key = `${step.clause} ${step.vnfcInstanceId}`.trim();
    for (const number of step.clauseStep.split(', ')) {
      const row = reportStep(t, step, number);
      t.is(step.caller, row.from as string, `${step.name}: who calls`);
      if (row.from === row.to) t.true(helpers.includes(step.callee), `${step.name}: who is called`);
      else {
        t.is(step.callee, row.to as string, `${step.name}: who is called`);
        t.is(step.via, (row.via ?? '') as Block | '', `${step.name}: through whom`);
      }
      const before = rows.get(key) ?? [];
      // A block may do one step in several of ours.
      if (before.at(-1) !== number) rows.set(key, [...before, number]);
    }
  }
  return rows;
}

/** Exactly these clauses, each as `taken` says, for the VNF or for each of its VNFCs. */
function isAsReported(
  t: ExecutionContext,
  occurrence: LifecycleOperationOccurrence,
  whole: string,
  each?: string,
) {
  const vnfcs = ['database-0', 'gateway-0'];
  const expected = new Map<string, readonly string[]>([
    [whole, taken[whole]!],
    ...(each ? vnfcs.map((vnfc) => [`${each} ${vnfc}`, taken[each]!] as const) : []),
  ]);
  const rows = told(t, occurrence);
  t.deepEqual(new Map([...rows].sort()), new Map([...expected].sort()));
}

const modes = {
  direct: { create: '6.4.1', revert: '6.4.3', pack: '6.6.1', extract: '6.6.3' },
  indirect: { create: '6.4.2', revert: '6.4.4', pack: '6.6.2', extract: '6.6.4' },
};

/** The rows of the report that each shows. */
const titles = {
  direct:
    '[6.4.1/13 6.4.1/17 6.4.1/21 6.4.1/25 6.4.1/26 6.4.3/13 6.4.3/17 6.6.1/1 6.6.1/4]' +
    '[6.6.1/5 6.6.3/1 6.6.3/4 6.6.3/5 6.5.1/1 6.5.1/2 6.5.1/3 6.5.1/4 6.5.1/5 6.5.1/6]' +
    '[6.5.1/7 6.5.1/8 6.5.1/9 6.5.1/10 6.5.1/11 6.5.1/12 6.5.1/14 6.5.2/1 6.5.2/2 6.5.2/3]' +
    '[6.5.2/4 6.5.2/5 6.5.2/6 6.5.2/7 6.5.2/8 6.5.2/9 6.5.2/10 6.5.2/11 6.5.2/13 6.7.1/1]' +
    '[6.7.1/2 6.7.1/3 6.7.1/4 6.7.1/5 6.7.1/6 6.7.1/7 6.7.1/8 6.7.2/1 6.7.2/2 6.7.2/3]' +
    '[6.7.2/4 6.7.2/5 6.7.2/6 6.7.2/7 6.7.3/1 6.7.3/2 6.7.3/3 6.7.3/4 6.7.3/5 6.7.4/1]' +
    '[6.7.4/2 6.7.4/3 6.7.4/4 6.7.4/5 6.7.6/1 6.7.6/2 6.7.6/3 6.7.6/4 6.7.6/5 5.2.2/1]' +
    '[5.2.2/2 5.2.2/5 5.2.2/6 5.2.2/7 5.2.3/1 5.2.3/2 5.2.3/5 5.2.3/6 5.2.3/7 5.2.4/1]' +
    '[5.2.4/2 5.2.4/3 5.2.4/4 5.2.4/5 5.2.4/6 5.2.5/1 5.2.5/2 5.2.5/3 5.2.5/4 5.2.5/5]' +
    '[5.2.6/1 5.2.6/2 5.2.6/3 5.2.6/4 5.2.7/1 5.2.7/2 5.2.7/3 5.2.7/4 5.2.9/1 5.2.9/2]' +
    '[5.2.9/3 Vnfm.003 Vnfm.004 Vnfm.005 6.3/vnfm-supervise 6.3/vnfm-execute]' +
    '[ViVnfm-Vcrm.003 ViVnfm-Vcrm.004 ViVnfm-Vcrm.005 ViVnfm-Vsrm.001 5.3-2/quiesce]' +
    '[Ve-Vnfm-vnf.001 VeVnfmvnf-Vsn.001 VeVnfmvnf-Vsn.002 VeVnfmvnf-Vsn.003]' +
    '[VeVnfmem-Vlm.001 VeVnfmem-Vlm.002 OrVnfm-Vspm.001 OrVnfm-Vspm.003 OrVnfm-Vspm.004]' +
    '[OrVnfm-Vspm.005 Or-Vnfm.001 OrVnfm-Vspm.002 Vnfm.006 5.2.8/1 5.2.8/3]' +
    '[6.7.5/1 6.7.5/4 6.7.5/5]',
  indirect:
    '[6.4.2/17 6.4.2/23 6.4.2/29 6.4.2/35 6.4.2/36 6.4.4/17 6.4.4/23 6.6.2/1 6.6.2/4-5]' +
    '[6.6.2/6-7 6.6.4/1 6.6.4/4-5 6.6.4/6-7 OrVi-Vcrm.003 OrVi-Vcrm.004 OrVi-Vcrm.005]' +
    '[OrVi-Vsrm.001]',
};

/** A system of its own with the demo's lab on it; none where the driver's tools are missing. */
async function opened(t: ExecutionContext, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) {
  if (driver === 'qemu') {
    if (!skipUnless(t, ...tools)) return undefined;
    await buildGuestImage();
  }
  const vnfm = { resourceManagement: mode };
  const configuration = { version: 1 as const, drivers: [driver], vnfm };
  const site = await Site.start('test', join(await tempFolder(t), 's'), configuration);
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  return lab;
}

const sequences = test.macro({
  title: (_given, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) =>
    `procedures on ${driver}, ${mode}: what is printed is what the report's text says ${titles[mode]}`,
  exec: async (t: ExecutionContext, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) => {
    const lab = await opened(t, driver, mode);
    if (!lab) return;
    const folder = await tempFolder(t);
    const { id: vnfInstanceId } = await lab.instantiate(driver, false);
    const vnf = await lab.vnf(vnfInstanceId);
    const agent = await lab.agent(vnf);
    // A guest that boots on a busy machine may not answer yet.
    await eventually(
      'the components answer',
      () =>
        agent.states().then(
          () => true,
          () => false,
        ),
      180_000,
    );
    const { create, revert, pack, extract } = modes[mode];

    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
    const creation = await lab.follow(taken.lifecycleOperationOccurrenceId);
    isAsReported(t, creation, '6.5.1', create);

    const { vnfSnapshotInfoId } = taken;
    const packing = await lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    const { vnfSnapshotPkgId } = packing;
    isAsReported(t, await lab.follow(packing.lifecycleOperationOccurrenceId), '6.7.1', pack);

    const location = join(folder, 'p.zip');
    const exported = await lab.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
    isAsReported(t, await lab.follow(exported.lifecycleOperationOccurrenceId), '6.7.3');
    const deleted = await lab.packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId });
    isAsReported(t, await lab.follow(deleted.lifecycleOperationOccurrenceId), '6.7.6');
    const imported = await lab.packages.importVnfSnapshotPackage({ location });
    isAsReported(t, await lab.follow(imported.lifecycleOperationOccurrenceId), '6.7.4');

    const found = async (filter: string) =>
      (await lab.packages.queryVnfSnapshotPackageInfo({ filter })).vnfSnapshotPkgInfos;
    t.deepEqual(
      (await found(`(eq,id,${vnfSnapshotPkgId})`)).map(({ id }) => id),
      [vnfSnapshotPkgId],
    );
    t.deepEqual(await found('(eq,id,another)'), []);

    const extracted = await lab.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId });
    isAsReported(t, await lab.follow(extracted.lifecycleOperationOccurrenceId), '6.7.2', extract);

    const reverted = await lab.lcm.revertToVnfSnapshot({
      vnfInstanceId,
      vnfSnapshotInfoId: extracted.vnfSnapshotInfoId,
    });
    const reversion = await lab.follow(reverted.lifecycleOperationOccurrenceId);
    isAsReported(t, reversion, '6.5.2', revert);
    await recorded(t, lab.site, creation, mode);
  },
});

const alone = test.macro({
  title: (_given, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) =>
    `procedures on ${driver}, ${mode}: the EM asks for a snapshot of one VNFC and a reversion to it ${aloneTitles[mode]}`,
  exec: async (t: ExecutionContext, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) => {
    const lab = await opened(t, driver, mode);
    if (!lab) return;
    const { create, revert } = modes[mode];
    const { id: vnfInstanceId } = await lab.instantiate(driver, false);
    const agent = await lab.agent(await lab.vnf(vnfInstanceId));
    const answer = () =>
      agent.states().then(
        () => true,
        () => false,
      );
    await eventually('the components answer', answer, 180_000);
    const taken = await lab.lcm.createVnfSnapshot({
      vnfInstanceId,
      vnfcInstanceIds: ['gateway-0'],
      type: SnapshotType.COLD,
    });
    const creation = await lab.follow(taken.lifecycleOperationOccurrenceId);
    t.deepEqual([...told(t, creation).keys()].sort(), [`${create} gateway-0`, '6.5.1']);
    t.true(creation.steps.some(({ name }) => name === 'grant'));
    const { vnfSnapshotInfoId } = taken;
    const reverted = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    const reversion = await lab.follow(reverted.lifecycleOperationOccurrenceId);
    const steps = told(t, reversion);
    t.deepEqual([...steps.keys()].sort(), [`${revert} gateway-0`, '6.5.2']);
    // Only disks were captured, so it boots from them.
    const cold = mode === 'direct' ? ['5', '13', '17', '25'] : ['5', '17', '23', '35'];
    t.deepEqual(steps.get(`${revert} gateway-0`), cold);
    const touched = [...creation.steps, ...reversion.steps].map((step) => step.vnfcInstanceId);
    t.deepEqual([...new Set(touched)].sort(), ['', 'gateway-0'], 'nothing was done to the other');
  },
});

const aloneTitles = {
  direct:
    '[6.4.1/1 6.4.1/2 6.4.1/3 6.4.1/4 6.4.1/38 6.4.3/1 6.4.3/2 6.4.3/3 6.4.3/4 6.4.3/5 6.4.3/25 6.4.3/29]',
  indirect:
    '[6.4.2/1 6.4.2/2 6.4.2/3 6.4.2/4 6.4.2/54 6.4.4/1 6.4.4/2 6.4.4/3 6.4.4/4 6.4.4/5 6.4.4/35 6.4.4/41]',
};

const powered = test.macro({
  title: (_given, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) =>
    `procedures on ${driver}, ${mode}: a VNFC is powered off before and on after ${poweredTitles[mode]}`,
  exec: async (t: ExecutionContext, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) => {
    const lab = await opened(t, driver, mode);
    if (!lab) return;
    const { id: vnfInstanceId } = await lab.instantiate(driver, false, (vnfd) => {
      const vnfc = { vduId: 'database', powerOff: PowerOff.BEFORE, powerOnAfter: true };
      vnfd.snapshotDescriptor!.vnfc = [create(VnfcSnapshotDescriptorSchema, vnfc)];
    });
    const agent = await lab.agent(await lab.vnf(vnfInstanceId));
    const answer = () =>
      agent.states().then(
        () => true,
        () => false,
      );
    await eventually('the components answer', answer, 180_000);
    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
    const creation = await lab.follow(taken.lifecycleOperationOccurrenceId);
    const numbers =
      mode === 'direct' ? ['5', '17', '21', '34', '25'] : ['5', '23', '29', '48', '35'];
    t.deepEqual(told(t, creation).get(`${modes[mode].create} database-0`), numbers);
    await eventually('the components answer again', answer, 180_000);
    const { vnfSnapshotInfoId } = taken;
    const filter = `(eq,id,${vnfSnapshotInfoId})`;
    const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({ filter, allFields: true });
    const warm = vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots.map((part) => [
      part.vduId,
      part.warm,
    ]);
    t.deepEqual(Object.fromEntries(warm), { gateway: true, database: false });
  },
});

const poweredTitles = {
  direct: '[6.4.1/5 6.4.1/34 Vnfsd.009 Vnfsd.010]',
  indirect: '[6.4.2/5 6.4.2/48 Vnfsd.009 Vnfsd.010]',
};

const detached = test.macro({
  title: (_given, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) =>
    `procedures on ${driver}, ${mode}: disks are detached for their snapshot and their reversion ${detachedTitles[mode]}`,
  exec: async (t: ExecutionContext, driver: 'wasmvm' | 'qemu', mode: keyof typeof modes) => {
    const lab = await opened(t, driver, mode);
    if (!lab) return;
    const { create: creating, revert: reverting } = modes[mode];
    const { id: vnfInstanceId } = await lab.instantiate(driver, false, (vnfd) => {
      vnfd.snapshotDescriptor!.vnfc = ['database', 'gateway'].map((vduId) =>
        create(VnfcSnapshotDescriptorSchema, {
          ...{ vduId, powerOff: PowerOff.BEFORE, powerOnAfter: true },
          ...{ detachBefore: true, attachAfter: true },
        }),
      );
    });
    const agent = await lab.agent(await lab.vnf(vnfInstanceId));
    const lines = async () => (await agent.states())['database-0']!.lines;
    const answer = (least: number) => () =>
      lines().then(
        (count) => count >= least,
        () => false,
      );
    await eventually('the components work', answer(5), 180_000);
    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
    const creation = await lab.follow(taken.lifecycleOperationOccurrenceId);
    const created =
      mode === 'direct'
        ? ['5', '9', '17', '21', '30', '34', '25']
        : ['5', '11', '23', '29', '42', '48', '35'];
    t.deepEqual(told(t, creation).get(`${creating} database-0`), created);
    // Both boot from the disks that were attached again, and go on.
    const { vnfSnapshotInfoId } = taken;
    const before = await bootedLines(lines);
    await eventually('the components work on', answer(before + 60), 180_000);
    const reverted = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    const reversion = await lab.follow(reverted.lifecycleOperationOccurrenceId);
    // It was captured powered off, so it is off after the reversion.
    const back = mode === 'direct' ? ['5', '9', '13', '17', '21'] : ['5', '11', '17', '23', '29'];
    t.deepEqual(told(t, reversion).get(`${reverting} database-0`), back);
    const changeStateTo = VnfState.STARTED;
    const starting = await lab.lcm.operateVnf({ vnfInstanceId, changeStateTo });
    await lab.follow(starting.lifecycleOperationOccurrenceId);
    const after = await bootedLines(lines);
    t.true(after < before + 60, `${after} lines, there were ${before + 60}: the disk went back`);
  },
});

/** What a component that has just booted says first. */
async function bootedLines(lines: () => Promise<number>): Promise<number> {
  let found = 0;
  const said = async () => {
    found = await lines().catch(() => 0);
    return found > 0;
  };
  await eventually('the components answer again, with what they wrote', said, 180_000);
  return found;
}

const detachedTitles = {
  direct: '[6.4.1/9 6.4.1/30 6.4.3/9 6.4.3/21 Vnfsd.011 Vnfsd.012]',
  indirect: '[6.4.2/11 6.4.2/42 6.4.4/11 6.4.4/29 Vnfsd.011 Vnfsd.012]',
};

/** In indirect mode the NFVO has a record of every call that changed something, and in direct mode of none. */
async function recorded(
  t: ExecutionContext,
  site: Site,
  { grantId }: LifecycleOperationOccurrence,
  mode: keyof typeof modes,
): Promise<void> {
  const granting = site.client(VnfLifecycleOperationGrantingService, 'oss');
  const { grant } = await granting.getGrant({ grantId });
  const calls = grant!.resourceCalls.map(({ method }) =>
    method.replace(/Virtualised(Compute|Storage)Resource/, ''),
  );
  const pair = (name: string) => [name, name];
  t.deepEqual(
    calls.sort(),
    mode === 'direct'
      ? []
      : ['CreateSnapshot', 'Hold', 'Quiesce', 'Release', 'Unquiesce'].flatMap(pair),
  );
  t.true(grant!.resourceCalls.every((call) => call.resourceProviderId === 'vim'));
}

test.serial(sequences, 'wasmvm', 'direct');
test.serial(sequences, 'wasmvm', 'indirect');
test.serial(sequences, 'qemu', 'direct');
test.serial(sequences, 'qemu', 'indirect');
test.serial(powered, 'wasmvm', 'direct');
test.serial(powered, 'wasmvm', 'indirect');
test.serial(powered, 'qemu', 'indirect');
test.serial(detached, 'wasmvm', 'direct');
test.serial(detached, 'wasmvm', 'indirect');
test.serial(detached, 'qemu', 'direct');
test.serial(detached, 'qemu', 'indirect');
test.serial(alone, 'wasmvm', 'direct');
test.serial(alone, 'wasmvm', 'indirect');
test.serial(alone, 'qemu', 'direct');
