/**
 * What GR NFV-TST 005 V1.1.1 has besides the procedures of clauses 6.4 to 6.7, a row for each line of a table, step of a
 * list or role, written down by hand. Wording is ours. `code` is where to begin reading; none: nothing is built of it yet.
 */

export type ReportRow = {
  /** How titles of tests name it, for example "5.2.2/3", "5.1.3.2/live", "Vnfsd.003" or "4.2.1/4". */
  id: string;
  what: string;
  code?: string;
  /** The drivers that can, where not both. */
  drivers?: string;
};

export type Section = { title: string; rows: readonly ReportRow[] };

type Row = readonly [id: string, what: string, code?: string | undefined, drivers?: string];

function rows(prefix: string, list: readonly Row[]): ReportRow[] {
  return list.map(([id, what, code, drivers]) => ({
    ...{ id: prefix + id, what },
    ...(code && { code }),
    ...(drivers && { drivers }),
  }));
}

const vnfm = 'plugins/vnfm';
const plan = `${vnfm}/plan`;
const does = `${vnfm}/procedures`;
const serves = `${vnfm}/services`;
const vim = 'plugins/vim';
const grants = 'plugins/nfvo/granting.ts';
const operations = `${serves}/snapshot-operations.ts`;
const infos = `${serves}/vnf-snapshots.ts`;
const packages = `${serves}/packages.ts`;
const nsLcm = 'plugins/nfvo/ns-lcm.ts';
const online = 'app/scenario/online-testing.ts';
const rootCause = `${vnfm}/automation/fault-watch.ts`;
const lifecycle = `${does}/heal-vnf.ts`;
const transfers = `${serves}/package-transfers.ts`;

/** Such state lies in the memory of a guest's kernel; a connection comes back when both its ends are in the snapshot. */
const kernelOfGuest = 'qemu, with memory; a guest of wasmvm has no kernel to keep such state';

export const sections: readonly Section[] = [
  {
    title: 'Clauses 5.2.2 to 5.2.9 and table 5.3-1: the procedures as the use cases need them',
    rows: [
      ...rows('5.2.2/', [
        ['1', 'asks for the creation of a VNF snapshot', operations],
        ['2', 'grants it', grants],
        ['3', 'identifies the parameters', `${plan}/snapshot-plan.ts`],
        ['4', 'resolves the VNFC snapshots', `${plan}/selection.ts`],
        ['5', 'takes the VNFC snapshots', `${does}/create-vnfc-snapshot.ts`],
        ['6', 'takes the VNF snapshot', `${does}/save-vnf-snapshot.ts`],
        ['7', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.3/', [
        ['1', 'asks for the reversion to a VNF snapshot', operations],
        ['2', 'grants it', grants],
        ['3', 'identifies the parameters', `${plan}/revert-plan.ts`],
        ['4', 'resolves the VNFC snapshots', `${plan}/revert-plan.ts`],
        ['5', 'reverts the VNFC instances', `${does}/revert-to-vnfc-snapshot.ts`],
        ['6', 'reverts the VNF instance', `${does}/revert-to-vnf-snapshot.ts`],
        ['7', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.4/', [
        ['1', 'asks for the creation of a VNF snapshot package', packages],
        ['2', 'grants it', grants],
        ['3', 'identifies the parameters', `${does}/create-package.ts`],
        ['4', 'creates the VNFC snapshot packages', `${vim}/vnfc-package.ts`],
        ['5', 'creates the VNF snapshot package', `${does}/create-package.ts`],
        ['6', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.5/', [
        ['1', 'asks for the extraction of a VNF snapshot package', packages],
        ['2', 'grants it', grants],
        ['3', 'extracts the VNF snapshot package', `${does}/extract-package.ts`],
        ['4', 'extracts the VNFC snapshot packages', `${vim}/vnfc-package.ts`],
        ['5', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.6/', [
        ['1', 'asks for the export of a VNF snapshot package', transfers],
        ['2', 'grants it', grants],
        ['3', 'transfers the files', `${does}/export-package.ts`],
        ['4', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.7/', [
        ['1', 'asks for the import of a VNF snapshot package', transfers],
        ['2', 'grants it', grants],
        ['3', 'transfers the files', `${does}/import-package.ts`],
        ['4', 'returns the result', 'sdk/operations/service.ts'],
      ]),
      ...rows('5.2.8/', [
        ['1', 'asks for information on VNF snapshot packages', packages],
        ['2', 'grants it', grants],
        ['3', 'returns the selected attributes of those that match the filter', packages],
      ]),
      ...rows('5.2.9/', [
        ['1', 'asks for the deletion of a VNF snapshot package', packages],
        ['2', 'grants it', grants],
        ['3', 'returns the result', 'sdk/operations/service.ts'],
      ]),
    ],
  },
  {
    title: 'Table 5.2.1-1: which procedures a use case needs',
    rows: rows('5.2.1/', [
      ['online-testing', 'create, revert; package: create, extract, export, import'],
      ['root-cause-analysis', 'create; package: create, extract, export, import'],
      ['lifecycle-procedure', 'create'],
      ['quick-recovery', 'revert'],
    ]),
  },
  {
    title: 'Table 5.3-2: gaps of the solutions of that time',
    rows: rows('5.3-2/', [
      ['advertise', 'techniques and capabilities are advertised', `${vim}/compute.ts`],
      ['utilize', 'the layer above uses what is advertised', `${plan}/capabilities.ts`],
      ['quiesce', 'quiesce and unquiesce between VIM and VNFM or NFVO', `${vim}/compute.ts`],
      ['target-host', 'a reversion may name the host', `${plan}/host-plan.ts`],
    ]),
  },
  {
    title: 'Clause 6.3: who does what',
    rows: rows('6.3/', [
      ['nfvo', 'grants snapshot operations', grants],
      ['vnfm-repository', 'keeps the VNF snapshot repository', infos],
      ['vnfm-package-repository', 'keeps the VNF snapshot package repository', packages],
      ['vnfm-supervise', 'supervises and manages the operations', `${vnfm}/plugin.ts`],
      ['vnfm-resolve', 'resolves descriptors and content', `${plan}/selection.ts`],
      ['vnfm-execute', 'executes the VNF snapshot and package operations', `${does}/all.ts`],
      ['vim-expose', 'exposes what the NFVI can', `${vim}/compute.ts`],
      ['vim-support', 'supports the VNFC snapshot operations', `${vim}/compute.ts`],
      ['vim-execute', 'executes the VNFC snapshot package operations', `${vim}/vnfc-package.ts`],
      ['nfvi', 'executes the VNFC snapshot operations', 'plugins/drivers'],
    ]),
  },
  {
    title: 'Tables 5.1.3.2-1 to 5.1.3.9-1: what can be done with the snapshot of an instance',
    rows: [
      ...rows('5.1.3.2/', [
        ['instance', 'a snapshot of the instance', 'plugins/drivers'],
        ['memory', 'with its memory', 'plugins/drivers'],
        ['disk', 'with its disks', 'plugins/drivers'],
        ['metadata', 'with metadata', 'plugins/drivers'],
        ['live', 'while it runs', 'plugins/drivers'],
        ['leave-running', 'and it runs on', 'plugins/drivers'],
        ['stop', 'and it is stopped after', `${does}/power.ts`],
        ['quiesce', 'with its file systems quiesced', 'plugins/drivers'],
        ['tcp-established', 'with open TCP connections', 'plugins/drivers/qemu', kernelOfGuest],
        ['atomic', 'all of it or nothing', 'plugins/drivers'],
        ['path', 'at a path of the caller', 'sdk/snapshot-folder.ts'],
      ]),
      ...rows('5.1.3.3/', [
        ['revert', 'goes back to the last or a named snapshot', 'plugins/drivers'],
        ['tcp-established', 'with open TCP connections', 'plugins/drivers/qemu', kernelOfGuest],
        ['file-locks', 'with file locks', 'plugins/drivers/qemu', kernelOfGuest],
        ['state', 'into the state of the snapshot or another one', 'plugins/drivers'],
        ['force', 'also where not all information is there'],
        ['host', 'on a host of the caller', `${plan}/host-plan.ts`],
      ]),
      ...rows('5.1.3.4/', [
        ['update', 'replaces the content of a snapshot', `${does}/replace-vnf-snapshot.ts`],
        ['metadata', 'changes its metadata', infos],
        ['rename', 'renames it', infos],
      ]),
      ...rows('5.1.3.5/', [
        ['list', 'lists snapshots', infos],
        ['filter', 'those that match a filter', infos],
      ]),
      ...rows('5.1.3.6/', [['show', 'shows a snapshot', infos]]),
      ...rows('5.1.3.7/', [
        ['filter', 'deletes those that match a filter', 'cli/commands/snapshot.ts'],
        ['consolidate', 'merges what remains', 'plugins/drivers'],
      ]),
      ...rows('5.1.3.8/', [
        ['image-files', 'exports the image files', 'plugins/repository/archive'],
      ]),
      ...rows('5.1.3.9/', [['image-files', 'imports image files', 'plugins/repository/archive']]),
    ],
  },
  {
    title: 'Tables 7.2.1-1 to 7.5.8-1: recommendations',
    rows: rows('', [
      ['Nfvo.001', 'granting of snapshot operations', grants],
      ['Vnfm.001', 'identifies the parameters of snapshot operations', plan],
      ['Vnfm.002', 'resolves the VNFC snapshots', `${plan}/selection.ts`],
      ['Vnfm.003', 'creation of and reversion to a VNFC snapshot', does],
      ['Vnfm.004', 'creation of and reversion to a VNF snapshot', does],
      ['Vnfm.005', 'creation, storage, deletion, extraction, import, export of a package', does],
      ['Vnfm.006', 'query of package information', packages],
      ['Vnfm.007', 'creation, storage, deletion, extraction of a VNFC package', does],
      ['Vnfm.008', 'snapshot repository: location, content, availability', infos],
      ['Vnfm.009', 'package repository: location, content, availability', packages],
      ['Vim.001', 'uses the capabilities of the virtualisation technologies', `${vim}/compute.ts`],
      ['Vim.002', 'creation of and reversion to a VNFC snapshot', `${vim}/compute.ts`],
      ['Vim.003', 'creation and extraction of a VNFC package', `${vim}/vnfc-package.ts`],
      ['Nfvi.001', 'reports its techniques and capabilities', 'plugins/drivers'],
      ['Nfvi.002', 'creation of and reversion to a VNFC snapshot', 'plugins/drivers'],
      ['Nfvi.003', 'creation and extraction of a VNFC package', 'plugins/drivers'],
      ['Nfvi.004', 'attaches and detaches volumes', 'plugins/drivers'],
      ['Nfvi.005', 'quiesces and unquiesces', 'plugins/drivers'],
      ['Nfvi.006', 'shuts down and starts', 'plugins/drivers'],
      ['ViVnfm-Vcrm.001', 'detach on Vi-Vnfm', `${vim}/compute.ts`],
      ['ViVnfm-Vcrm.002', 'attach on Vi-Vnfm', `${vim}/compute.ts`],
      ['ViVnfm-Vcrm.003', 'quiesce on Vi-Vnfm', `${vim}/compute.ts`],
      ['ViVnfm-Vcrm.004', 'unquiesce on Vi-Vnfm', `${vim}/compute.ts`],
      ['ViVnfm-Vcrm.005', 'revert compute on Vi-Vnfm', `${vim}/compute.ts`],
      ['ViVnfm-Vsrm.001', 'revert storage on Vi-Vnfm', `${vim}/compute.ts`],
      ['OrVi-Vcrm.001', 'detach on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['OrVi-Vcrm.002', 'attach on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['OrVi-Vcrm.003', 'quiesce on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['OrVi-Vcrm.004', 'unquiesce on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['OrVi-Vcrm.005', 'revert compute on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['OrVi-Vsrm.001', 'revert storage on Or-Vi', 'plugins/nfvo/resources.ts'],
      ['Or-Vnfm.001', 'a package management interface on Or-Vnfm', packages],
      ['OrVnfm-Vspm.001', 'it is produced by the VNFM', packages],
      ['OrVnfm-Vspm.002', 'query by filter', packages],
      ['OrVnfm-Vspm.003', 'delete', packages],
      ['OrVnfm-Vspm.004', 'transfer', transfers],
      ['OrVnfm-Vspm.005', 'store', transfers],
      ['Ve-Vnfm-vnf.001', 'a notification interface on Ve-Vnfm-vnf', `${vnfm}/notification`],
      ['VeVnfmvnf-Vsn.001', 'it is produced by the VNFM', `${vnfm}/notification/service.ts`],
      ['VeVnfmvnf-Vsn.002', 'tells of a creation and its VNFCs', `${does}/notify.ts`],
      ['VeVnfmvnf-Vsn.003', 'tells of a reversion and its VNFCs', `${does}/notify.ts`],
      ['VeVnfmem-Vlm.001', 'the EM asks for a snapshot of a VNF or VNFC', operations],
      ['VeVnfmem-Vlm.002', 'the EM asks for a reversion of a VNF or VNFC', operations],
      ['OsMaNfvo-Nslm.001', 'the OSS/BSS asks for a snapshot in NS lifecycle management', nsLcm],
      ['OsMaNfvo-Nslm.002', 'the OSS/BSS asks for a reversion in NS lifecycle management', nsLcm],
    ]),
  },
  {
    title: 'Table 7.3-1: the VNF snapshot descriptor',
    rows: rows('Vnfsd.', [
      ['001', 'a snapshot is allowed or forbidden', `${plan}/snapshot-plan.ts`],
      ['002', 'a reversion is allowed or forbidden', `${plan}/revert-plan.ts`],
      ['003', 'the VNFCs that are part of a snapshot', `${plan}/selection.ts`],
      ['004', 'when a snapshot may be taken', 'sdk/windows.ts'],
      ['005', 'cold or warm, by VNFC', `${plan}/snapshot-plan.ts`],
      [
        '006',
        'memory internal or external, by VNFC',
        `${plan}/snapshot-plan.ts`,
        'external memory',
      ],
      [
        '007',
        'disk internal or external, sequential or incremental, by VNFC',
        `${plan}/snapshot-plan.ts`,
        'external disks: sequential on wasmvm, incremental on qemu',
      ],
      ['008', 'consistent or not', `${plan}/snapshot-plan.ts`],
      ['009', 'powered off before or after, by VNFC', `${does}/power.ts`],
      ['010', 'powered on after, by VNFC', `${does}/power.ts`],
      ['011', 'disks detached before, by VNFC'],
      ['012', 'disks attached after, by VNFC'],
      [
        '013',
        'a snapshot when it is powered off, by VNFC',
        `${vnfm}/automation/power-off-snapshots.ts`,
      ],
      ['014', 'a reversion when it is powered on, by VNFC', `${does}/operate-vnf.ts`],
      ['015', 'granting policies', 'plugins/nfvo/policy.ts'],
      ['016', 'the volumes that are part of a snapshot, by VNFC', `${plan}/selection.ts`],
      ['017', 'the order of creation', `${plan}/situation.ts`],
      ['018', 'the order of reversion', `${plan}/situation.ts`],
    ]),
  },
  {
    title: 'Clause 4: use cases',
    rows: [
      ...rows('4.1.1/', [
        ['1', 'place and scenario of the test are determined', online],
        ['2', 'the criteria are collected', online],
        ['3', 'VNF snapshots are created and stored', online],
        ['4', 'the scenario is executed', online],
        ['5', 'the network service reacts', online],
        ['6', 'the same information is collected again', online],
        ['7', 'on failure new instances are started from the snapshots and take over', online],
        ['8', 'on failure the failed ones are snapshotted', online],
      ]),
      ...rows('4.2.1/', [
        ['1', 'snapshots of selected VNFCs are asked for', rootCause],
        ['2', 'they are created and stored', rootCause],
        ['3', 'the VIM says where they are', rootCause],
        ['4', 'logs and operational information are added', `${does}/operational-information.ts`],
        ['5', 'the EM is told of success or failure', 'sdk/operations/state-feed.ts'],
      ]),
      ...rows('4.3.1/', [
        ['1', 'snapshots of selected VNFCs are asked for', lifecycle],
        ['2', 'they are created and stored', lifecycle],
        ['3', 'the VIM says where they are', lifecycle],
        ['4', 'what is needed to fall back is added', `${does}/operational-information.ts`],
        ['5', 'NFVO and EM are told of success or failure', 'sdk/operations/state-feed.ts'],
      ]),
      ...rows('4.3.2/', [
        ['1', 'a reversion is asked for, at the VNFM or the NFVO', nsLcm],
        ['2', 'what belongs to the snapshot is determined', `${plan}/revert-plan.ts`],
        ['3', 'the VIM is asked to revert', `${does}/revert-to-vnfc-snapshot.ts`],
        ['4', 'the VIM reverts', `${vim}/compute.ts`],
        ['5', 'the VIM says how it went', `${does}/revert-to-vnfc-snapshot.ts`],
        ['6', 'NFVO or EM is told', 'sdk/operations/service.ts'],
      ]),
    ],
  },
  {
    title: '3GPP TR 32.842: VNF snapshot capture',
    rows: rows('capture/', [
      ['1', 'the EM asks for a snapshot of a VNF or of any of its components', operations],
      ['2', 'the VNFM identifies the VNFCs and determines their order', `${plan}/selection.ts`],
      ['3', 'the VNFM asks the VIM for each VNFC', `${does}/create-vnfc-snapshot.ts`],
      ['4', 'VIM and NFVI take the snapshots', `${vim}/compute.ts`],
      ['5', 'the VIM answers with the file paths', `${vim}/compute.ts`],
      ['6', 'the VNFM prepares the result report', `${vnfm}/capture-report.ts`],
      ['7', 'the EM is told the VIM and the file paths', `${does}/save-vnf-snapshot.ts`],
      ['8', 'the EM adds its own information', `${serves}/em-data.ts`],
    ]),
  },
];
