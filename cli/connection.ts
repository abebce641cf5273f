import { join } from 'node:path';
import type { Command } from 'commander';

/** Where `mano serve` keeps its data when nothing else is said. */
export const defaultDataFolder = join(process.env.HOME ?? '.', '.local/share/micromano');

export type ConnectOptions = { data?: string; connect?: string; certs?: string };

/** Adds the options that say which Micromano a command talks to. */
export function withConnection(command: Command): Command {
  return command
    .option('--data <dir>', 'data folder of a Micromano on this machine (env MANO_DATA)')
    .option('--connect <host:port>', 'address of a Micromano on the network (env MANO_CONNECT)')
    .option('--certs <dir>', 'folder of certificates, <data>/pki of the server, for --connect');
}
