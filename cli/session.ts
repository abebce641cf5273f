import { readFileSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient } from '../sdk/client.ts';
import { invalidArgument } from '../sdk/errors.ts';
import { type GrpcChannel, openChannel } from '../sdk/transport/grpc-channel.ts';
import { type ConnectOptions, defaultDataFolder } from './connection.ts';

/** Clients of one command. Each role has a channel of its own: a local socket, or a certificate, is one role. */
export class Session {
  private readonly options: ConnectOptions;
  private readonly channels = new Map<string, GrpcChannel>();

  constructor(options: ConnectOptions) {
    this.options = options;
  }

  /** A client that calls as `role`. */
  client<S extends DescService>(service: S, role: string): Client<S> {
    let channel = this.channels.get(role);
    if (!channel) {
      channel = openChannel(this.address(role));
      this.channels.set(role, channel);
    }
    return createClient(service, channel);
  }

  close(): void {
    for (const channel of this.channels.values()) channel.close();
  }

  private address(role: string) {
    const connect = this.options.connect ?? process.env.MANO_CONNECT;
    if (connect && !this.options.data) {
      const certs = this.options.certs ?? process.env.MANO_CERTS;
      if (!certs) {
        throw invalidArgument(
          'CERTS_MISSING',
          '--connect needs --certs: a TCP port always has TLS',
        );
      }
      return { address: connect, tls: loadCertificates(certs, role) };
    }
    const data = this.options.data ?? process.env.MANO_DATA ?? defaultDataFolder;
    const socket = join(isAbsolute(data) ? data : resolve(data), 'run', `${role}.sock`);
    return { address: `unix:${socket}` };
  }
}

function loadCertificates(folder: string, role: string) {
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name), 'utf8');
    } catch (thrown) {
      const text = `${join(folder, name)} cannot be read: ${(thrown as Error).message}`;
      throw invalidArgument('CERTS_MISSING', text, { file: join(folder, name) });
    }
  };
  return {
    ca: read('ca.pem'),
    certificate: read(`clients/${role}.pem`),
    key: read(`clients/${role}-key.pem`),
  };
}
