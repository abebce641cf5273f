import { readFile } from 'node:fs/promises';
import { invalidArgument } from '../sdk/errors.ts';

/**
 * A plugin in a process of its own: either a command that Micromano starts, and starts again when it
 * ends, or an address where somebody else runs it.
 */
export type OutsidePlugin = {
  instanceId: string;
  /** For example "nfvi" for a driver. */
  role: string;
  /** The program and its arguments. */
  command?: string[];
  /** Handed to the command as JSON in NFV_PLUGIN_CONFIG. */
  config?: unknown;
  /** "unix:/path", or "host:port" with `tls`. */
  address?: string;
  /** Files with PEM texts: the authority of the plugin's certificate, and ours to show. */
  tls?: { ca: string; certificate: string; key: string };
};

type Refuse = (path: string, text: string) => Error;

const known = ['instanceId', 'role', 'command', 'config', 'address', 'tls'];

/** Checks the list "plugins" of a configuration. Throws what `refuse` makes, with the path of the field. */
export function checkOutsidePlugins(value: unknown, refuse: Refuse): OutsidePlugin[] {
  if (!Array.isArray(value)) throw refuse('plugins', 'must be a list');
  return value.map((item, index) => checkPlugin(item, `plugins[${index}]`, refuse));
}

function checkPlugin(value: unknown, path: string, refuse: Refuse): OutsidePlugin {
  if (typeof value !== 'object' || value === null) throw refuse(path, 'must be an object');
  const plugin = value as OutsidePlugin;
  const unknown = Object.keys(plugin).find((key) => !known.includes(key));
  if (unknown) throw refuse(`${path}.${unknown}`, `is not known; known: ${known.join(', ')}`);
  for (const key of ['instanceId', 'role'] as const) {
    if (!isText(plugin[key])) throw refuse(`${path}.${key}`, 'must be a text');
  }
  const { command, address, tls } = plugin;
  if ((command === undefined) === (address === undefined)) {
    throw refuse(path, 'must have either "command" or "address"');
  }
  if (command !== undefined && !(Array.isArray(command) && command[0] && command.every(isText))) {
    throw refuse(`${path}.command`, 'must be a list of texts: the program and its arguments');
  }
  if (address !== undefined && !isText(address)) throw refuse(`${path}.address`, 'must be a text');
  if (tls !== undefined && ![tls?.ca, tls?.certificate, tls?.key].every(isText)) {
    throw refuse(`${path}.tls`, 'must have the files "ca", "certificate" and "key"');
  }
  return plugin;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** Reads the PEM files of a plugin on the network. INVALID_ARGUMENT when one cannot be read. */
export async function tlsOf({ tls, instanceId }: OutsidePlugin) {
  if (!tls) return undefined;
  const read = async (path: string) => {
    try {
      return await readFile(path, 'utf8');
    } catch (thrown) {
      const text = `tls of plugin ${instanceId}: ${(thrown as Error).message}`;
      throw invalidArgument('CONFIG_INVALID', text, { file: path });
    }
  };
  return {
    ca: await read(tls.ca),
    certificate: await read(tls.certificate),
    key: await read(tls.key),
  };
}
