import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient } from '../../sdk/client.ts';
import { unavailable } from '../../sdk/errors.ts';
import { type GrpcChannel, openChannel } from '../../sdk/transport/grpc-channel.ts';
import type { SiteConfiguration } from '../configuration.ts';

const startMsMax = 60_000;
const stopMsMax = 30_000;
const program = join(import.meta.dirname, '../../cli/main.ts');

/** One Micromano in a process of its own, as `mano serve` starts it, and clients of it. */
export class Site {
  readonly name: string;
  readonly folder: string;
  /** Resolves when the process has ended, however it did. */
  readonly ended: Promise<void>;
  private readonly child: ChildProcess;
  private readonly channels = new Map<string, GrpcChannel>();

  private constructor(name: string, folder: string, child: ChildProcess) {
    this.name = name;
    this.folder = folder;
    this.child = child;
    this.ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** Starts `mano serve` over a folder and waits until it is ready. */
  static async start(
    name: string,
    folder: string,
    configuration: SiteConfiguration,
    environment: NodeJS.ProcessEnv = {},
  ): Promise<Site> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = join(folder, 'site.json');
    await writeFile(file, JSON.stringify(configuration));
    const log = openSync(join(folder, 'serve.log'), 'a');
    const command = ['--disable-warning=ExperimentalWarning', program, 'serve'];
    const child = spawn(process.execPath, [...command, '--data', folder, '--config', file], {
      stdio: ['ignore', 'pipe', log],
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    const site = new Site(name, folder, child);
    await site.untilReady();
    return site;
  }

  get pid(): number {
    return this.child.pid!;
  }

  transport(role: string): GrpcChannel {
    let channel = this.channels.get(role);
    if (!channel) {
      channel = openChannel({ address: `unix:${join(this.folder, 'run', `${role}.sock`)}` });
      this.channels.set(role, channel);
    }
    return channel;
  }

  client<S extends DescService>(service: S, role: string): Client<S> {
    return createClient(service, this.transport(role));
  }

  /** Drains; ends the process when it does not. */
  async stop(): Promise<void> {
    await this.end('SIGTERM');
  }

  /** Ends the process like a crash. */
  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    for (const channel of this.channels.values()) channel.close();
    this.channels.clear();
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), stopMsMax);
    await this.ended;
    clearTimeout(timer);
  }

  private async untilReady(): Promise<void> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), startMsMax);
    try {
      for await (const line of createInterface({ input: this.child.stdout! })) {
        if (line === 'ready') {
          this.child.stdout!.resume();
          return;
        }
      }
    } finally {
      clearTimeout(timer);
    }
    const log = await readFile(join(this.folder, 'serve.log'), 'utf8');
    const text = `site ${this.name} did not start; its log ends with:\n${log.slice(-2000)}`;
    throw unavailable('SITE_FAILED', text, { site: this.name });
  }
}
