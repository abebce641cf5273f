/**
 * The command line of QEMU, as a pure function of what the machine is made of. Addresses on the PCI
 * bus are fixed, so that device state of one process fits another with the same description.
 */

/** One file of a disk's chain, the active one first. */
export type DiskLayer = { nodeName: string; path: string; format: 'qcow2' | 'raw' };

export type DiskArguments = { name: string; serial: string; chain: DiskLayer[] };

export type InterfaceArguments = { mac: string; localPath: string; remotePath: string };

export type MachineDescription = {
  /** For people in a process list. */
  name: string;
  uuid: string;
  accelerator: 'tcg' | 'kvm';
  machineType: string;
  cpuModel: string;
  virtualCpus: number;
  memoryMib: number;
  /** Read by the guest (ACPI) to learn that time went back. */
  generationGuid: string;
  kernel?: { path: string; initrdPath: string; commandLine: string };
  /** The boot disk first. */
  disks: DiskArguments[];
  interfaces: InterfaceArguments[];
  /** Wait for device state and memory instead of booting. */
  incoming: boolean;
};

/**
 * Names within the run folder, which is the working folder of QEMU: short, whatever the data folder
 * is called.
 */
export const runFiles = {
  memory: 'memory.img',
  qmp: 'qmp.sock',
  watch: 'watch.sock',
  agent: 'agent.sock',
  vnf: 'vnf.sock',
  migration: 'migration.sock',
  log: 'qemu.log',
  pid: 'qemu.pid',
} as const;

/** What fits the fixed places on the bus. */
export const disksMax = 12;
export const interfacesMax = 8;
const firstDiskSlot = 0x04;
const firstInterfaceSlot = 0x10;
const consoleBytes = 65536;

/** The arguments for one machine. Pure. */
export function machineArguments(machine: MachineDescription): string[] {
  const accelerator =
    machine.accelerator === 'tcg' ? 'tcg,thread=single,tb-size=64' : machine.accelerator;
  return [
    ...['-name', `${escapeCommas(machine.name)},process=micromano-vm`],
    ...['-uuid', machine.uuid],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-S'],
    // Nothing that a guest breaks into may start programs or gain privileges.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-machine', `${machine.machineType},vmport=off,memory-backend=ram`],
    ...['-accel', accelerator, '-cpu', machine.cpuModel],
    ...['-smp', String(machine.virtualCpus), '-m', String(machine.memoryMib)],
    // Memory in a file by guest address: a capture copies the file and leaves it out of the stream
    // (x-ignore-shared).
    '-object',
    `memory-backend-file,id=ram,size=${machine.memoryMib}M,mem-path=${runFiles.memory},share=on`,
    ...(machine.kernel ? kernelArguments(machine.kernel) : []),
    ...channelArguments(),
    ...machine.disks.flatMap(diskArguments),
    ...machine.interfaces.flatMap(interfaceArguments),
    ...['-device', 'virtio-rng-pci,addr=0x1c'],
    ...['-device', `vmgenid,guid=${machine.generationGuid}`],
    ...['-pidfile', runFiles.pid],
    ...(machine.incoming ? ['-incoming', 'defer'] : []),
  ];
}

function kernelArguments(kernel: NonNullable<MachineDescription['kernel']>): string[] {
  return ['-kernel', kernel.path, '-initrd', kernel.initrdPath, '-append', kernel.commandLine];
}

function channelArguments(): string[] {
  const socket = (id: string, path: string) => [
    '-chardev',
    `socket,id=${id},path=${path},server=on,wait=off`,
  ];
  return [
    // The console in a ring: a guest that prints for ever fills no disk.
    ...['-chardev', `ringbuf,id=console,size=${consoleBytes}`, '-serial', 'chardev:console'],
    // QEMU serves one client per socket: the second one is the watchdog's.
    ...['-qmp', `unix:${runFiles.qmp},server=on,wait=off`],
    ...['-qmp', `unix:${runFiles.watch},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci,id=serial,addr=0x1b'],
    ...socket('agent', runFiles.agent),
    ...['-device', 'virtserialport,bus=serial.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0'],
    ...socket('vnf', runFiles.vnf),
    ...['-device', 'virtserialport,bus=serial.0,nr=2,chardev=vnf,name=org.micromano.vnf.0'],
  ];
}

function diskArguments(disk: DiskArguments, index: number): string[] {
  const slot = `0x${(firstDiskSlot + index).toString(16)}`;
  const boot = index === 0 ? ',bootindex=1' : '';
  const device = `virtio-blk-pci,id=disk-${disk.name},addr=${slot},serial=${disk.serial}${boot}`;
  return [
    ...blockdevArguments(disk.chain),
    ...['-device', `${device},drive=${disk.chain[0]!.nodeName}`],
  ];
}

/** One -blockdev for each file, bottom first, each with an explicit format: nothing is probed. */
function blockdevArguments(chain: DiskLayer[]): string[] {
  return chain
    .map((layer, index) => ['-blockdev', JSON.stringify(layerOptions(layer, chain, index))])
    .reverse()
    .flat();
}

/** Options of one node for -blockdev and blockdev-add; all but the active layer are read-only. */
export function layerOptions(layer: DiskLayer, chain: DiskLayer[], index: number): object {
  const readOnly = index > 0;
  const backing = chain[index + 1];
  return {
    driver: layer.format,
    'node-name': layer.nodeName,
    'read-only': readOnly,
    ...(layer.format === 'qcow2' ? { backing: backing ? backing.nodeName : null } : {}),
    discard: 'unmap',
    // Without its own read-only: a merge makes a layer writable for its duration, and its file must
    // follow.
    file: { driver: 'file', filename: layer.path, discard: 'unmap' },
  };
}

function interfaceArguments(port: InterfaceArguments, index: number): string[] {
  const slot = `0x${(firstInterfaceSlot + index).toString(16)}`;
  // Datagrams between two sockets in the data folder: no privilege, no port number, and either side
  // may end, come back or be replaced by a revert: the name is looked up for each frame.
  const local = `local.type=unix,local.path=${port.localPath}`;
  const remote = `remote.type=unix,remote.path=${port.remotePath}`;
  return [
    ...['-netdev', `dgram,id=net${index},${local},${remote}`],
    '-device',
    `virtio-net-pci,netdev=net${index},mac=${port.mac},addr=${slot},romfile=`,
  ];
}

function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,');
}
