import test from 'ava';
import {
  type MachineDescription,
  machineArguments,
} from '../../../../plugins/drivers/qemu/machine/arguments.ts';

const machine: MachineDescription = {
  name: 'gateway,1',
  uuid: '11111111-2222-3333-4444-555555555555',
  accelerator: 'tcg',
  machineType: 'pc-q35-7.2',
  cpuModel: 'Nehalem',
  virtualCpus: 2,
  memoryMib: 128,
  generationGuid: '66666666-7777-8888-9999-000000000000',
  kernel: { path: '/i/vmlinuz', initrdPath: '/i/initrd', commandLine: 'quiet micromano.role=x' },
  disks: [
    {
      name: 'root',
      serial: 'root',
      chain: [
        { nodeName: 'layer-b', path: '/l/b.qcow2', format: 'qcow2' },
        { nodeName: 'layer-a', path: '/l/a.raw', format: 'raw' },
      ],
    },
    {
      name: 'data',
      serial: 'data',
      chain: [{ nodeName: 'layer-d', path: '/l/d.qcow2', format: 'qcow2' }],
    },
  ],
  interfaces: [{ mac: '52:54:00:00:00:01', localPath: 'net0.sock', remotePath: '../p.sock' }],
  incoming: false,
};

/** The values of an option, in order. */
function values(args: string[], option: string): string[] {
  return args.filter((_, index) => args[index - 1] === option);
}

const args = machineArguments(machine);

test('machineArguments: a comma in a name does not begin another option', (t) => {
  t.deepEqual(values(args, '-name'), ['gateway,,1,process=micromano-vm']);
});

test('machineArguments: a chain is opened bottom first, each format named, only the top writable', (t) => {
  const nodes = values(args, '-blockdev').map((text) => JSON.parse(text));
  t.deepEqual(
    nodes.map((node) => [node['node-name'], node.driver, node['read-only'], node.backing]),
    [
      ['layer-a', 'raw', true, undefined],
      ['layer-b', 'qcow2', false, 'layer-a'],
      ['layer-d', 'qcow2', false, null],
    ],
  );
});

test('machineArguments: the first disk boots, and every device has a fixed place', (t) => {
  const devices = values(args, '-device');
  const disks = devices.filter((device) => device.startsWith('virtio-blk-pci'));
  t.deepEqual(disks, [
    'virtio-blk-pci,id=disk-root,addr=0x4,serial=root,bootindex=1,drive=layer-b',
    'virtio-blk-pci,id=disk-data,addr=0x5,serial=data,drive=layer-d',
  ]);
  for (const device of devices.filter((text) => /-pci,/.test(text))) t.regex(device, /addr=0x/);
});

test('machineArguments: memory is a shared file that a capture can copy', (t) => {
  t.true(
    values(args, '-object').includes(
      'memory-backend-file,id=ram,size=128M,mem-path=memory.img,share=on',
    ),
  );
  t.regex(values(args, '-machine').join(), /memory-backend=ram/);
});

test('machineArguments: no monitor, no network of the host, no program may be started', (t) => {
  t.false(args.includes('-monitor'));
  t.regex(values(args, '-sandbox').join(), /^on,.*spawn=deny/);
  t.true(values(args, '-netdev').every((netdev) => netdev.startsWith('dgram,')));
  t.is(values(args, '-qmp').length, 2);
});

test('machineArguments: only a machine that receives state waits for it', (t) => {
  t.deepEqual(values(args, '-incoming'), []);
  t.deepEqual(values(machineArguments({ ...machine, incoming: true }), '-incoming'), ['defer']);
});

test('machineArguments: device places are the same for a boot and for a revert', (t) => {
  const incoming = machineArguments({ ...machine, incoming: true });
  t.deepEqual(values(incoming, '-device'), values(args, '-device'));
});
