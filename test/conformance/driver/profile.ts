import type { Transport } from '../../../sdk/transport/transport.ts';

/** A disk of a guest: empty with a size, or from an image. */
export type DiskProfile = { name: string; sizeBytes?: bigint; image?: string; boot?: boolean };

/** What a component of the demo VNF (see the VNF channel's roles) is made of on this driver. */
export type GuestProfile = {
  image: string;
  memoryMib?: number;
  disks: readonly DiskProfile[];
  guestParameters?: Readonly<Record<string, string>>;
};

/** Where a driver is and what it is given. */
export type ConformanceOptions = {
  /** Reaches the driver: in process, over a socket, through a kernel. */
  transport: Transport;
  /** The instance, when the transport leads to several. */
  target?: string;
  /** The two components of the demo VNF. */
  guests: { gateway: GuestProfile; database: GuestProfile };
  /** How long a guest may take to boot until its VNF answers, in milliseconds. */
  bootMs?: number;
  /** Checks of one gateway use the same one while it is as they need it: for guests that boot slowly. */
  sharesGuest?: boolean;
  /** In this time a running guest would have answered, in milliseconds. */
  silenceMs?: number;
  /**
   * Kills the driver without warning, opens it again and returns the way to it. Absent: checks of
   * recovery are skipped by name.
   */
  killAndReopen?: () => Promise<Transport>;
};

export type Role = 'gateway' | 'database';

/** A guest of the kit, with the ids of its volumes by their names. */
export type Guest = {
  role: Role;
  computeId: string;
  networkId: string;
  volumes: Record<string, string>;
};
