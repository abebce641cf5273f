import { mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Folders } from '../state/folders.ts';

/**
 * A network is a wire between two interfaces: datagrams between two Unix sockets in the data
 * folder, so nobody but this driver's user can listen in, and no privilege is needed. Each end has
 * a symbolic link of a fixed name that points at the socket of the machine's present run: a revert
 * replaces the machine and moves the name.
 */
export const portsPerNetwork = 2;

const endName = (slot: number): string => `port-${slot}.sock`;
const socketName = (index: number): string => `net${index}.sock`;

/** The paths of one interface as its QEMU uses them, relative to its run folder. */
export function linkPaths(
  folders: Folders,
  computeId: string,
  runNumber: number,
  networkId: string,
  slot: number,
  index: number,
): { localPath: string; remotePath: string } {
  const peer = join(folders.link(networkId), endName(portsPerNetwork - 1 - slot));
  return {
    localPath: socketName(index),
    remotePath: folders.fromRun(computeId, runNumber, peer),
  };
}

/** Points the ends of a machine's interfaces at its present run. Repeatable. */
export async function pointLinks(
  folders: Folders,
  computeId: string,
  runNumber: number,
  interfaces: { networkId: string; slot: number }[],
): Promise<void> {
  for (const [index, { networkId, slot }] of interfaces.entries()) {
    const folder = folders.link(networkId);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const target = relative(folder, join(folders.run(computeId, runNumber), socketName(index)));
    const temporary = join(folder, `${endName(slot)}.${process.pid}.tmp`);
    await rm(temporary, { force: true });
    await symlink(target, temporary);
    await rename(temporary, join(folder, endName(slot)));
  }
}
