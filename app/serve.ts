import { networkInterfaces } from 'node:os';
import { invalidArgument } from '../sdk/errors.ts';
import { createLogger, type LogLevel } from '../sdk/ports/logger.ts';
import { readConfiguration } from './configuration.ts';
import { clientRoles, startSystem } from './system.ts';

export type ServeOptions = {
  data: string;
  listen?: string;
  config?: string;
  logLevel: LogLevel;
};

/**
 * Runs Micromano until SIGTERM or SIGINT, which drain: no new calls, running ones finish, operations stay resumable.
 * A second signal ends at once, like a crash; the next start takes everything up.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const logger = createLogger({ level: options.logLevel });
  const configuration = await readConfiguration(options.config);
  const host = options.listen === undefined ? '' : listenHost(options.listen);
  const { kernel, ca } = await startSystem({
    dataFolder: options.data,
    configuration,
    logger,
    hosts: hostsOf(host),
  });
  let draining = false;
  const drain = (signal: string) => {
    if (draining) process.exit(1);
    draining = true;
    logger.info('draining', { signal });
    void kernel.drain();
  };
  process.on('SIGTERM', drain);
  process.on('SIGINT', drain);
  process.stdout.write(`sockets: ${clientRoles.map((role) => kernel.socketOf(role)).join(' ')}\n`);
  if (ca.issued.length > 0) {
    process.stdout.write(`made development certificates in ${ca.folder}\n`);
  }
  if (options.listen) {
    const port = await kernel.listen(options.listen, ca.server).catch(async (error) => {
      await kernel.drain(0);
      throw error;
    });
    process.stdout.write(
      `listening on ${host}:${port} with mutual TLS; client certificates: ${ca.folder}/clients\n`,
    );
  }
  process.stdout.write('ready\n');
  await kernel.stopped;
  process.exit(0);
}

function listenHost(address: string): string {
  const [, host] = /^(\[[0-9a-f:.%]+\]|[^\s:]+):\d{1,5}$/i.exec(address) ?? [];
  if (host) return host;
  const text = `--listen "${address}": must be HOST:PORT, for example 127.0.0.1:7443 or [::1]:0`;
  throw invalidArgument('LISTEN_INVALID', text, { address });
}

/** What the server's certificate has to name, so that clients can reach it where it listens. */
function hostsOf(host: string): string[] {
  const bare = host.replace(/^\[(.*)\]$/, '$1');
  if (bare === '0.0.0.0' || bare === '::') {
    return Object.values(networkInterfaces()).flatMap((own) => (own ?? []).map(addressOf));
  }
  return bare === '' ? [] : [bare];
}

function addressOf({ address }: { address: string }): string {
  return address.replace(/%.*$/, '');
}
