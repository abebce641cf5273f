import { accessSync, constants } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type DevelopmentCa, openDevelopmentCa } from '../kernel/identity/development-ca.ts';
import { createKernel, type Kernel } from '../kernel/kernel.ts';
import { qemuPlugin } from '../plugins/drivers/qemu/plugin.ts';
import { wasmvmPlugin } from '../plugins/drivers/wasmvm/plugin.ts';
import { nfvoPlugin } from '../plugins/nfvo/plugin.ts';
import { repositoryPlugin } from '../plugins/repository/plugin.ts';
import { vimPlugin } from '../plugins/vim/plugin.ts';
import { vnfmPlugin } from '../plugins/vnfm/plugin.ts';
import { invalidArgument } from '../sdk/errors.ts';
import type { Plugin } from '../sdk/plugin.ts';
import { systemClock } from '../sdk/ports/clock.ts';
import type { Logger } from '../sdk/ports/logger.ts';
import type { SiteConfiguration } from './configuration.ts';
import { type OutsidePlugin, tlsOf } from './outside-plugins.ts';

/** The roles of clients, which get a socket and a certificate each. */
export const clientRoles = ['operator', 'em', 'oss', 'vnf'] as const;
/** Signs exported archives. */
const signerRole = 'repository';
/** The role of drivers. */
const driverRole = 'nfvi';

export type SystemOptions = {
  /** Holds everything: state, packages, sockets, certificates. */
  dataFolder: string;
  configuration: SiteConfiguration;
  logger: Logger;
  /** Names and addresses under which clients reach the TCP port, besides this host's own name. */
  hosts?: readonly string[];
};

export type System = { kernel: Kernel; ca: DevelopmentCa; drivers: readonly string[] };

/** Puts kernel, blocks and drivers together in this process and starts them. */
export async function startSystem(options: SystemOptions): Promise<System> {
  const { configuration, logger } = options;
  const dataFolder = resolve(options.dataFolder);
  await mkdir(dataFolder, { recursive: true, mode: 0o700 }).catch((error: Error) => {
    const text = `--data ${dataFolder} cannot be used: ${error.message}`;
    throw invalidArgument('DATA_FOLDER_INVALID', text, { folder: dataFolder });
  });
  const ca = await openDevelopmentCa({
    folder: join(dataFolder, 'pki'),
    roles: [...clientRoles, signerRole],
    hosts: options.hosts ?? [],
    clock: systemClock,
  });
  const kernel = createKernel({
    dataFolder,
    runFolder: join(dataFolder, 'run'),
    roles: clientRoles,
    descriptors: await loadDescriptors(),
    policy: ({ caller, producer }) =>
      configuration.vnfm?.resourceManagement === 'indirect' &&
      caller.role === 'vnfm' &&
      producer === 'vim'
        ? 'in indirect resource management mode the VNFM reaches the VIM through the NFVO'
        : undefined,
    logger,
  });
  const drivers = configuration.drivers ?? installedDrivers(logger);
  for (const driver of drivers) {
    await kernel.add(driverPlugins[driver]!, { config: driverConfig(configuration, driver) });
  }
  const hosts = configuration.hosts ?? [];
  for (const { name: instanceId, kind, config } of hosts) {
    await kernel.add(driverPlugins[kind]!, {
      instanceId,
      config: config ?? driverConfig(configuration, kind),
    });
  }
  const outside = configuration.plugins ?? [];
  for (const plugin of outside) await addOutside(kernel, plugin);
  const outsideDrivers = outside.filter(({ role }) => role === driverRole);
  const signer = await ca.client(signerRole);
  await kernel.add(repositoryPlugin, {
    config: {
      ...configuration.repository,
      signer: { certificate: signer.certificate, privateKey: signer.key },
      authorities: [signer.ca],
    },
  });
  const instances = [
    ...drivers,
    ...hosts.map(({ name }) => name),
    ...outsideDrivers.map(({ instanceId }) => instanceId),
  ];
  await kernel.add(vimPlugin, { config: { drivers: instances, repository: 'repository' } });
  await kernel.add(vnfmPlugin, { config: vnfmConfig(configuration) });
  await kernel.add(nfvoPlugin, { config: { vnfm: 'vnfm', vim: 'vim', ...configuration.nfvo } });
  await kernel.start();
  return { kernel, ca, drivers };
}

async function addOutside(kernel: Kernel, plugin: OutsidePlugin): Promise<void> {
  const { instanceId, role, command, config, address } = plugin;
  if (command) return kernel.launch({ instanceId, role, command, config });
  const tls = await tlsOf(plugin);
  return kernel.attach({ instanceId, role, address: address!, ...(tls && { tls }) });
}

const driverPlugins: Record<string, Plugin> = { wasmvm: wasmvmPlugin, qemu: qemuPlugin };

function driverConfig(configuration: SiteConfiguration, driver: string): unknown {
  return driver === 'qemu' ? configuration.qemu : configuration.wasmvm;
}

/** On one host the user who may open the sockets may read and write files anyway: archives may be anywhere. */
function vnfmConfig({ vnfm }: SiteConfiguration) {
  const names = { vim: 'vim', nfvo: 'nfvo', repository: 'repository' };
  return { packageFolders: ['/'], ...vnfm, ...names };
}

/** The drivers that can run here. What is left out is said, with what would bring it in. */
function installedDrivers(logger: Logger): string[] {
  if (isInstalled('qemu-system-x86_64')) return ['wasmvm', 'qemu'];
  logger.info('the qemu driver is left out: qemu-system-x86_64 is not installed', {
    remedy: './mano setup --system',
  });
  return ['wasmvm'];
}

/** True when a program of that name can be found. */
export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function loadDescriptors() {
  const path = join(import.meta.dirname, '../gen/descriptors.binpb');
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, await readFile(path)));
}
