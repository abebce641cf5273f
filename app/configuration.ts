import { readFile } from 'node:fs/promises';
import { invalidArgument, notFound } from '../sdk/errors.ts';
import { checkHosts, type Host } from './hosts.ts';
import { checkOutsidePlugins, type OutsidePlugin } from './outside-plugins.ts';

/** The settings of a site; each plugin checks its own part. */
export type SiteConfiguration = {
  /** The format of the file. */
  version: 1;
  /** Granting policy: see plugins/nfvo/policy.ts. */
  nfvo?: { policy?: unknown };
  /**
   * `packageFolders` and `packageAddresses` (HTTP(S), each ending with "/"): where archives may be
   * written and read. `transport`: how captured disks are
   * read into packages, "local-file" (default) or "nbd". `resourceManagement`: whether the VNFM
   * reaches the VIM itself, "direct" (default), or through the NFVO, "indirect".
   * `grantEachVnfcPackage`: a grant for each VNFC snapshot package too. `archiveBytesMax`,
   * `archiveKeepSeconds`, `archiveIdleSeconds`: limits of archives that are uploaded.
   */
  vnfm?: {
    packageFolders?: string[];
    packageAddresses?: string[];
    transport?: string;
    resourceManagement?: string;
    grantEachVnfcPackage?: boolean;
    archiveBytesMax?: number;
    archiveKeepSeconds?: number;
    archiveIdleSeconds?: number;
  };
  repository?: { folder?: string };
  wasmvm?: Record<string, unknown>;
  qemu?: Record<string, unknown>;
  /** Drivers to start; absent: wasmvm, and qemu where it is installed. */
  drivers?: string[];
  /** Further instances of built-in drivers, each for a host of its own. */
  hosts?: Host[];
  /** Plugins in processes of their own, for example a driver in another language. */
  plugins?: OutsidePlugin[];
};

const known = [
  'version',
  'nfvo',
  'vnfm',
  'repository',
  'wasmvm',
  'qemu',
  'drivers',
  'hosts',
  'plugins',
];
/** Drivers that come with the project. */
export const driverKinds: readonly string[] = ['wasmvm', 'qemu'];

/** Reads a configuration file. INVALID_ARGUMENT with the path of what is wrong. */
export async function readConfiguration(path: string | undefined): Promise<SiteConfiguration> {
  if (path === undefined) return { version: 1 };
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw notFound('FILE_UNREADABLE', `${path}: ${error.message}`, { file: path });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(path, '', `is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(path, '', 'must be an object');
  }
  const configuration = value as SiteConfiguration;
  const unknown = Object.keys(configuration).find((key) => !known.includes(key));
  if (unknown) throw invalid(path, unknown, `is not known; known: ${known.join(', ')}`);
  if (configuration.version !== 1) throw invalid(path, 'version', 'must be 1');
  const { drivers } = configuration;
  if (drivers !== undefined && !isDriverList(drivers)) {
    throw invalid(path, 'drivers', `must be a list of some of ${driverKinds.join(', ')}`);
  }
  if (configuration.hosts !== undefined) {
    checkHosts(configuration.hosts, driverKinds, (field, why) => invalid(path, field, why));
  }
  if (configuration.plugins !== undefined) {
    checkOutsidePlugins(configuration.plugins, (field, why) => invalid(path, field, why));
  }
  return configuration;
}

function isDriverList(value: unknown): boolean {
  return (
    Array.isArray(value) && value.length > 0 && value.every((item) => driverKinds.includes(item))
  );
}

function invalid(file: string, path: string, text: string) {
  const message = path === '' ? `${file}: ${text}` : `${file}: ${path}: ${text}`;
  return invalidArgument('CONFIG_INVALID', message, { file, path });
}
