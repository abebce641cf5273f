// What the driver and its machine room (a worker thread) say to each other.
import type { Code } from '../../../../sdk/errors.ts';

/** A disk of a guest. */
export type DiskConfig = {
  volumeId: string;
  name: string;
  path: string;
  sizeBytes: number;
  /** One bit for each block of 64 KiB, set before the block is written. Shared with the driver. */
  log: SharedArrayBuffer;
};

/** A network interface of a guest. */
export type InterfaceConfig = { networkId: string; mac: string };

/** Everything that a guest is started with. */
export type MachineConfig = {
  computeId: string;
  /** Names this start of the guest in the heartbeat; from 1, never used again. */
  number: number;
  /** SHA-256 of the program, and where it is. */
  programId: string;
  programPath: string;
  globals: string[];
  canFreeze: boolean;
  canShutDown: boolean;
  /** The memory it has at boot and may have at most, in pages of 64 KiB. */
  pages: number;
  pagesMax: number;
  disks: DiskConfig[];
  interfaces: InterfaceConfig[];
  parameters: Record<string, string>;
  generationId: string;
  /** 64 bits, in hexadecimal. */
  seed: string;
  consolePath: string;
};

/**
 * A hold or a freeze as the machine room keeps it. Times are those of the wall clock, in
 * milliseconds.
 */
export type LeaseStatus = { leaseId: string; startMs: number; durationMs: number };

/** How a guest is doing. Guests that are not in memory have no status. */
export type MachineStatus = {
  state: 'running' | 'paused';
  quiesced: boolean;
  hold?: LeaseStatus;
};

/** What to do with a guest once its restored state is committed. */
export type AfterRestore =
  | { kind: 'run' }
  | { kind: 'pause' }
  | { kind: 'hold'; leaseId: string; durationMs: number };

export type DiskCopy = { volumeId: string; targetPath: string };

export type Captured = {
  captureMs: number;
  completeMs: number;
  /** The run state without the pause for the capture. */
  state: 'running' | 'paused';
  quiesced: boolean;
  memory?: Uint8Array;
  deviceState?: Uint8Array;
  /** The blocks written since the log was last rotated, per volume. */
  logs: Record<string, Uint8Array>;
};

export type Commands = {
  start: { input: { config: MachineConfig }; output: MachineStatus };
  /** Ends the guest at once; nothing to do when it is not there. */
  stop: { input: { computeId: string }; output: undefined };
  shutdown: { input: { computeId: string; timeoutMs: number }; output: undefined };
  pause: { input: { computeId: string }; output: MachineStatus };
  unpause: { input: { computeId: string }; output: MachineStatus };
  /** Pulls its network cables, or plugs them in again. */
  setCables: { input: { computeId: string; plugged: boolean }; output: undefined };
  status: { input: { computeId: string }; output: MachineStatus | undefined };
  hold: {
    input: { computeId: string; leaseId: string; durationMs: number };
    output: LeaseStatus;
  };
  release: { input: { computeId: string; leaseId: string }; output: { releaseMs: number } };
  quiesce: {
    input: { computeId: string; leaseId: string; durationMs: number };
    output: LeaseStatus & { frozen: number };
  };
  unquiesce: { input: { computeId: string; leaseId: string }; output: { thawed: number } };
  capture: {
    input: {
      computeId: string;
      memory: boolean;
      disks: DiskCopy[];
      leaseId: string;
      stopAfter: boolean;
    };
    output: Captured;
  };
  /** Loads a guest beside the one that is there, which stands until commit or abort. */
  prepareRestore: {
    input: {
      config: MachineConfig;
      memory?: Uint8Array;
      deviceState?: Uint8Array;
      quiesced: boolean;
    };
    output: undefined;
  };
  commitRestore: {
    input: { computeId: string; after: AfterRestore };
    output: { status: MachineStatus };
  };
  abortRestore: { input: { computeId: string }; output: undefined };
  /** Hands a line to the guest; false when its queue is full or it is not in memory. */
  channel: { input: { computeId: string; line: string }; output: { taken: boolean } };
};

export type CommandName = keyof Commands;

export type ErrorShape = {
  code: Code;
  reason: string;
  message: string;
  metadata: Record<string, string>;
  stack?: string;
};

export type ToRoom = { id: number; name: CommandName; input: unknown };

export type FromRoom =
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'error'; id: number; error: ErrorShape }
  /** A guest changed by itself, or one of its leases ended. */
  | { kind: 'changed'; computeId: string }
  /** A guest is no longer in memory, without a command to stop it. */
  | { kind: 'ended'; computeId: string; how: 'off' | 'failed'; reason: string }
  | { kind: 'channel'; computeId: string; line: string };

export type RoomOptions = {
  /** Counters shared with the driver: see heartbeat.ts. */
  heart: SharedArrayBuffer;
  tickMs: number;
  /** Decides the interleaving of the guests; absent: they take turns. */
  seed?: string;
};
