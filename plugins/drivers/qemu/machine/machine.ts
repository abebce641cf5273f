import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { unavailable } from '../../../../sdk/errors.ts';
import { withGuestAgent } from '../channels/guest-agent.ts';
import { ChannelError } from '../channels/json-lines.ts';
import { QmpClient } from '../channels/qmp-client.ts';
import {
  commandLine,
  identify,
  isAlive,
  killProcess,
  type ProcessIdentity,
  runTool,
  spawnDetached,
  ToolError,
  waitForExit,
} from '../host/process.ts';
import type { RunRecord } from '../state/records.ts';
import { type MachineDescription, machineArguments, runFiles } from './arguments.ts';

/** QEMU answers 0.1 s after its start; this is for a host that swaps. */
const startDeadlineMs = 20_000;
const adoptDeadlineMs = 5000;
const quitDeadlineMs = 5000;
const reserveDeadlineMs = 60_000;
const logTailBytes = 2000;
const mebibyte = 1024 * 1024;

const diskFailed =
  'a disk could not be written: the data folder is full or failing; make room, then unpause';

export type RunState = 'RUNNING' | 'PAUSED';

/** A QEMU process that this driver talks to. It lives on when the driver ends. */
export class Machine {
  readonly folder: string;
  readonly uuid: string;
  readonly process: ProcessIdentity;
  readonly qmp: QmpClient;

  constructor(folder: string, uuid: string, process: ProcessIdentity, qmp: QmpClient) {
    this.folder = folder;
    this.uuid = uuid;
    this.process = process;
    this.qmp = qmp;
  }

  get alive(): boolean {
    return isAlive(this.process);
  }

  path(name: keyof typeof runFiles): string {
    return join(this.folder, runFiles[name]);
  }

  /** Asked from QEMU, not remembered. */
  async state(): Promise<RunState> {
    return (await this.condition()).state;
  }

  /** The state, and why QEMU brought it about by itself when it did. */
  async condition(): Promise<{ state: RunState; reason: string }> {
    const { status } = await this.qmp.execute<{ status: string }>('query-status');
    const reason = status === 'io-error' ? diskFailed : '';
    return { state: status === 'running' ? 'RUNNING' : 'PAUSED', reason };
  }

  /** False after a capture until the machine runs on: QEMU must not touch its disks in between. */
  async ownsDisks(): Promise<boolean> {
    const status = await this.qmp
      .execute<{ status: string }>('query-status')
      .catch(() => undefined);
    return status?.status === 'running' || status?.status === 'paused';
  }

  /** Stops the processors; returns when the guest does not run any more. */
  async pause(): Promise<void> {
    await this.qmp.execute('stop');
  }

  async resume(): Promise<void> {
    await this.qmp.execute('cont');
  }

  /** Pulls the cables of its `count` network interfaces, or plugs them in again. */
  async setCables(count: number, plugged: boolean): Promise<void> {
    for (let index = 0; index < count; index++) {
      await this.qmp.execute('set_link', { name: `net${index}`, up: plugged });
    }
  }

  /**
   * Asks the guest to shut down, through its agent or the power button; false when it still runs
   * after that.
   */
  async powerDown(deadlineMs: number): Promise<boolean> {
    await this.qmp.execute('system_powerdown');
    return waitForExit(this.process, deadlineMs);
  }

  /** Ends QEMU at once; its files are flushed when it still listens. */
  async end(): Promise<void> {
    await this.qmp.execute('quit').catch((error) => {
      if (!(error instanceof ChannelError)) throw error;
    });
    this.qmp.close();
    if (!(await waitForExit(this.process, quitDeadlineMs))) await killProcess(this.process);
  }

  /** Thaws all file systems; returns how many were frozen. */
  thaw(deadlineMs: number): Promise<number> {
    return withGuestAgent(this.path('agent'), deadlineMs, (agent) => agent.thaw());
  }

  /** Sets the guest's clock, which memory from another time left behind. */
  setClock(deadlineMs: number): Promise<void> {
    return withGuestAgent(this.path('agent'), deadlineMs, (agent) => agent.setTime());
  }

  /** The last of what the guest printed on its console. */
  async console(): Promise<string> {
    const args = { device: 'console', size: 65536, format: 'utf8' };
    return this.qmp.execute<string>('ringbuf-read', args);
  }
}

/**
 * Starts QEMU, paused, in a folder of its own, and waits until it answers. `started` is told the
 * identity as soon as there is one, so that it can be recorded. UNAVAILABLE reason
 * HYPERVISOR_FAILED with the end of its log when it ends.
 */
export async function startMachine(
  description: MachineDescription,
  folder: string,
  program: string,
  started: (identity: ProcessIdentity) => void,
): Promise<Machine> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await prepareMemory(join(folder, runFiles.memory), description.memoryMib);
  const logFile = join(folder, runFiles.log);
  const args = machineArguments(description);
  const identity = await spawnDetached(program, args, { cwd: folder, logFile });
  started(identity);
  try {
    return await connect(folder, description.uuid, identity, startDeadlineMs);
  } catch (error) {
    await killProcess(identity);
    const log = (await readFile(logFile, 'utf8').catch(() => '')).slice(-logTailBytes).trim();
    const reason = error instanceof Error ? error.message : String(error);
    throw unavailable('HYPERVISOR_FAILED', `QEMU did not start: ${log || reason}`, {
      log: logFile,
    });
  }
}

/**
 * Takes a running QEMU over again; undefined when exactly that process is gone or is somebody else.
 */
export async function adoptMachine(run: RunRecord, folder: string): Promise<Machine | undefined> {
  const identity = run.process ?? (await findByPidFile(run, folder));
  if (!identity || !isAlive(identity)) return undefined;
  try {
    return await connect(folder, run.uuid, identity, adoptDeadlineMs);
  } catch (error) {
    if (isAlive(identity)) throw error;
    return undefined;
  }
}

/**
 * The process of a run whose start was not recorded any more: QEMU's own note, checked against its
 * command line.
 */
export async function findByPidFile(
  run: Pick<RunRecord, 'uuid'>,
  folder: string,
): Promise<ProcessIdentity | undefined> {
  const text = await readFile(join(folder, runFiles.pid), 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  if (!(pid > 1) || !(await commandLine(pid)).includes(run.uuid)) return undefined;
  return identify(pid);
}

/** Ends whatever process belongs to a run folder that no record names, and removes the folder. */
export async function discardRun(folder: string, identity?: ProcessIdentity): Promise<void> {
  if (identity) await killProcess(identity);
  await rm(folder, { recursive: true, force: true });
}

async function connect(
  folder: string,
  uuid: string,
  identity: ProcessIdentity,
  deadlineMs: number,
): Promise<Machine> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    if (!isAlive(identity)) throw new ChannelError('CLOSED', `process ${identity.pid} has ended`);
    try {
      const qmp = await QmpClient.connect(join(folder, runFiles.qmp), 250);
      const answer = await qmp.execute<{ UUID: string }>('query-uuid');
      if (answer.UUID === uuid) return new Machine(folder, uuid, identity, qmp);
      qmp.close();
      throw new Error(`the machine in ${folder} is ${answer.UUID}, not ${uuid}`);
    } catch (error) {
      if (!(error instanceof ChannelError) || performance.now() > end) throw error;
    }
  }
}

/**
 * The file of guest memory, with all its room reserved: a guest that touches a page for which the
 * disk has none would die of SIGBUS. Reserved room that was never written still reads, and is
 * copied, as holes.
 */
async function prepareMemory(path: string, memoryMib: number): Promise<void> {
  const bytes = memoryMib * mebibyte;
  const file = await open(path, 'a', 0o600);
  await file.truncate(bytes).finally(() => file.close());
  try {
    await runTool('fallocate', ['--length', String(bytes), path], reserveDeadlineMs);
  } catch (error) {
    // A file system that cannot reserve (NFS, ZFS) leaves the guest to the risk; a full one is an
    // error.
    if (!(error instanceof ToolError && /not supported/.test(error.stderr))) throw error;
  }
}
