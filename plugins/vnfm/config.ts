import { isAbsolute, normalize } from 'node:path';
import { DataTransport } from '../../gen/nfv/driver/v1/driver_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';

/** The two modes of resource management (GR NFV-TST 005 clauses 6.4 and 6.6). */
export type ResourceManagement = 'direct' | 'indirect';

/** The configuration of a VNFM. */
export type VnfmConfig = {
  /** The plugin instances that it works with. */
  vim: string;
  nfvo: string;
  repository: string;
  /**
   * The folders in which archives may be written and read, absolute; empty: neither export nor
   * import.
   */
  packageFolders: string[];
  /**
   * The HTTP(S) addresses below which archives may be written and read, each ending with "/"; empty:
   * none.
   */
  packageAddresses: string[];
  /**
   * How it reaches the VIM: itself (Vi-Vnfm), or through the NFVO (Or-Vnfm), which records and may
   * refuse.
   */
  resourceManagement: ResourceManagement;
  /**
   * A grant for each VNFC snapshot package too (6.6.1 to 6.6.4 steps 2 and 3), besides that of the VNF
   * snapshot package.
   */
  grantEachVnfcPackage: boolean;
  /** The largest archive that may be uploaded, in bytes. */
  archiveBytesMax: number;
  /** How long an archive stays that nobody touches. */
  archiveKeepSeconds: number;
  /** How long an upload may be silent. */
  archiveIdleSeconds: number;
  /** How captured disks are read into packages; a driver that cannot do it fails the operation. */
  transport: DataTransport;
};

const names = ['vim', 'nfvo', 'repository'] as const;
const known: readonly string[] = [
  ...names,
  ...['packageFolders', 'packageAddresses', 'resourceManagement', 'grantEachVnfcPackage'],
  ...['transport', 'archiveBytesMax', 'archiveKeepSeconds', 'archiveIdleSeconds'],
];
const transports = new Map<unknown, DataTransport>([
  ['local-file', DataTransport.LOCAL_FILE],
  ['nbd', DataTransport.NBD],
]);

/**
 * Checks the configuration strictly. INVALID_ARGUMENT with reason CONFIG_INVALID and the path of
 * the fault.
 */
export function parseConfig(value: unknown): VnfmConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('', 'must be an object');
  }
  const given = value as Record<string, unknown>;
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) throw invalid(`.${key}`, `is not known; known: ${known.join(', ')}`);
  }
  const [vim, nfvo, repository] = names.map((name) => instanceName(given[name] ?? name, name));
  return {
    vim: vim!,
    nfvo: nfvo!,
    repository: repository!,
    packageFolders: folders(given.packageFolders),
    packageAddresses: addresses(given.packageAddresses),
    resourceManagement: mode(given.resourceManagement),
    grantEachVnfcPackage: flag(given.grantEachVnfcPackage, 'grantEachVnfcPackage'),
    archiveBytesMax: positive(given, 'archiveBytesMax', 256 * 2 ** 30),
    archiveKeepSeconds: positive(given, 'archiveKeepSeconds', 24 * 3600),
    archiveIdleSeconds: positive(given, 'archiveIdleSeconds', 300),
    transport: transport(given.transport),
  };
}

function instanceName(value: unknown, key: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalid(`.${key}`, 'must name a plugin instance');
}

function folders(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid('.packageFolders', 'must be a list of absolute paths');
  return value.map((folder, index) => {
    if (typeof folder === 'string' && isAbsolute(folder)) return normalize(folder);
    throw invalid(`.packageFolders[${index}]`, 'must be an absolute path');
  });
}

function addresses(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid('.packageAddresses', 'must be a list of addresses');
  return value.map((address, index) => {
    const url = typeof address === 'string' && URL.canParse(address) ? new URL(address) : undefined;
    const isWeb = url?.protocol === 'http:' || url?.protocol === 'https:';
    if (url && isWeb && url.href.endsWith('/')) return url.href;
    throw invalid(
      `.packageAddresses[${index}]`,
      'must be an http or https address ending with "/"',
    );
  });
}

function mode(value: unknown): ResourceManagement {
  if (value === undefined) return 'direct';
  if (value === 'direct' || value === 'indirect') return value;
  throw invalid('.resourceManagement', 'must be direct or indirect');
}

function flag(value: unknown, key: string): boolean {
  if (value === undefined) return false;
  if (typeof value === 'boolean') return value;
  throw invalid(`.${key}`, 'must be true or false');
}

function positive(given: Record<string, unknown>, key: string, otherwise: number): number {
  const value = given[key] ?? otherwise;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(`.${key}`, 'must be a whole number above 0');
}

function transport(value: unknown): DataTransport {
  if (value === undefined) return DataTransport.LOCAL_FILE;
  const found = transports.get(value);
  if (found !== undefined) return found;
  throw invalid('.transport', `must be one of ${[...transports.keys()].join(', ')}`);
}

function invalid(path: string, text: string) {
  return invalidArgument('CONFIG_INVALID', `vnfm${path}: ${text}`, { path: `vnfm${path}` });
}
