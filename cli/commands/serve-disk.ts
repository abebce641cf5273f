import { resolve } from 'node:path';
import type { Command } from 'commander';
import { localAction } from '../action.ts';
import { formatBytes, printJson, printTable } from '../output.ts';

type Options = {
  store: string;
  listen?: string;
  socket?: string;
  certs?: string;
  scratch?: string;
  writable?: boolean;
  json?: boolean;
};

const more = `
Without --listen and --socket it makes a socket in a new folder. An address that other machines reach needs --certs: a
folder with ca-cert.pem, server-cert.pem and server-key.pem; clients need a certificate of the same authority.
SIGINT or SIGTERM ends it after the requests under way. Writes never change the package.`;

/** `mano serve-disk`: disks of a package over NBD, straight from the compressed blocks. */
export function serveDiskCommand(program: Command): void {
  program
    .command('serve-disk <package[:disk]>')
    .description('serve the disks of a package over NBD, without unpacking them')
    .requiredOption('--store <dir>', 'folder of the repository')
    .option('--listen <host:port>', 'listen on TCP; port 0 takes a free one')
    .option('--socket <path>', 'listen on a Unix socket that only this user reaches')
    .option('--certs <dir>', 'everybody must encrypt, with the certificates of this folder')
    .option(
      '--scratch <file>',
      'writable: changes go to this file, which is kept for the next time',
    )
    .option('--writable', 'writable: changes go to temporary files (in TMPDIR) and end with it')
    .option('--json', 'print one line of JSON with the addresses when it is ready')
    .addHelpText('after', more)
    .action(
      localAction<Options>(async ({ json, ...options }, name) => {
        const { serveDisk } = await import('../../app/store/serve-disk.ts');
        const { socket, scratch } = options;
        await serveDisk(name as string, {
          ...options,
          ...(socket && { socket: resolve(socket) }),
          ...(scratch && { scratch: resolve(scratch) }),
          signal: ending(),
          onFault: (text) => process.stderr.write(`mano: ${text}\n`),
          onReady: (served) => {
            if (json) return printJson(served);
            printTable(
              ['EXPORT', 'SIZE', 'MODE', 'URI'],
              served.exports.map(({ name: disk, uri, sizeBytes, writable }) => [
                disk,
                formatBytes(sizeBytes),
                writable ? 'scratch' : 'read-only',
                uri,
              ]),
            );
          },
        });
      }),
    );
}

/** Aborts at the first SIGINT or SIGTERM; a second one ends the process. */
function ending(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort());
  }
  return controller.signal;
}
