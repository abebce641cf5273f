import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient } from '../sdk/client.ts';
import { invalidArgument } from '../sdk/errors.ts';
import {
  type ChannelOptions,
  type GrpcChannel,
  openChannel,
} from '../sdk/transport/grpc-channel.ts';
import type { Transport } from '../sdk/transport/transport.ts';
import { type ConnectOptions, defaultDataFolder } from './connection.ts';
import { awaitServer, gated } from './ready.ts';

/**
 * Clients of one command. Each role has a channel of its own: a local socket, or a certificate, is
 * one role.
 */
export class Session {
  private readonly options: ConnectOptions;
  private readonly channels = new Map<string, GrpcChannel>();

  constructor(options: ConnectOptions) {
    this.options = options;
  }

  /** A client that calls as `role`. Its calls wait for a server that is starting. */
  client<S extends DescService>(service: S, role: string): Client<S> {
    const { channel, place } = this.open(role);
    const ready = () => awaitServer(channel, place);
    return gated(service, createClient(service, channel), ready);
  }

  /** A way to call as `role`, once the server takes calls. */
  async transport(role: string): Promise<Transport> {
    const { channel, place } = this.open(role);
    await awaitServer(channel, place);
    return channel;
  }

  /** True when paths of the server's host mean nothing here. */
  get isRemote(): boolean {
    const { data, connect } = this.options;
    return (connect ?? (data ? undefined : process.env.MANO_CONNECT)) !== undefined;
  }

  close(): void {
    for (const channel of this.channels.values()) channel.close();
  }

  private open(role: string): { channel: GrpcChannel; place: string } {
    const { address, tls } = this.address(role);
    let channel = this.channels.get(role);
    if (!channel) {
      channel = openChannel({ address, ...(tls && { tls }) });
      this.channels.set(role, channel);
    }
    return { channel, place: address.replace(/^unix:/, '') };
  }

  /** What is said on the command line goes before the environment. */
  private address(role: string): ChannelOptions {
    const { data, connect, certs } = this.options;
    if (data && connect) {
      throw invalidArgument('USAGE', '--data and --connect exclude each other');
    }
    const address = connect ?? (data ? undefined : process.env.MANO_CONNECT);
    if (address) return { address, tls: certificatesOf(certs ?? process.env.MANO_CERTS, role) };
    const folder = data ?? process.env.MANO_DATA ?? defaultDataFolder;
    return { address: `unix:${join(resolve(folder), 'run', `${role}.sock`)}` };
  }
}

function certificatesOf(folder: string | undefined, role: string) {
  if (!folder) {
    const text = '--connect needs --certs (or MANO_CERTS): a TCP port always has TLS';
    throw invalidArgument('CERTS_MISSING', text);
  }
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name), 'utf8');
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      const text =
        `${join(folder, name)} cannot be read (${code}): --certs must name a folder with ` +
        `ca.pem, clients/${role}.pem and clients/${role}-key.pem, as the server makes in DATA/pki`;
      throw invalidArgument('CERTS_MISSING', text, { file: join(folder, name) });
    }
  };
  return {
    ca: read('ca.pem'),
    certificate: read(`clients/${role}.pem`),
    key: read(`clients/${role}-key.pem`),
  };
}
