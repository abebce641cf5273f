import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockCache } from '../../plugins/repository/nbd-server/block-cache.ts';
import { ContentDisk } from '../../plugins/repository/nbd-server/content-disk.ts';
import type { ServedDisk } from '../../plugins/repository/nbd-server/disk.ts';
import { type ListenAddress, parseListen } from '../../plugins/repository/nbd-server/listen.ts';
import { PackageDisk } from '../../plugins/repository/nbd-server/package-disk.ts';
import { ScratchDisk } from '../../plugins/repository/nbd-server/scratch-disk.ts';
import { ScratchFile } from '../../plugins/repository/nbd-server/scratch-file.ts';
import { NbdServer } from '../../plugins/repository/nbd-server/server.ts';
import { formatNbdAddress } from '../../plugins/repository/sources/nbd/address.ts';
import type { ImageRecord, PackageReader } from '../../plugins/repository/store/store.ts';
import { failedPrecondition, invalidArgument } from '../../sdk/errors.ts';
import { withStore } from './with-store.ts';

export type ServeDiskOptions = {
  /** Folder of the repository. */
  store: string;
  /** `HOST:PORT`; neither this nor `socket`: a socket in a new folder. */
  listen?: string;
  /** Path of a Unix socket. */
  socket?: string;
  /** Folder with ca-cert.pem, server-cert.pem and server-key.pem: everybody must encrypt. */
  certs?: string;
  /** Writes go to this file, which is kept. For one disk. */
  scratch?: string;
  /** Writes go to temporary files. */
  writable?: boolean;
  /** Ends the server when it aborts. */
  signal: AbortSignal;
  onReady(served: Served): void;
  onFault(text: string): void;
};

export type Served = {
  package: string;
  /** Of the export without a name: the first one. */
  uri: string;
  exports: { name: string; uri: string; sizeBytes: number; writable: boolean }[];
};

/**
 * Serves disks of a package (`PACKAGE` or `PACKAGE:DISK`) over NBD until `signal` aborts. The
 * package stays readable meanwhile, also when it is deleted.
 */
export async function serveDisk(name: string, options: ServeDiskOptions): Promise<void> {
  const { listen, socket, scratch, writable } = options;
  if (listen && socket) throw usage('--listen and --socket exclude each other');
  if (scratch && writable) throw usage('--scratch and --writable exclude each other');
  const tls = options.certs === undefined ? undefined : await certificates(options.certs);
  const [packageId = '', ...rest] = name.split(':');
  const disk = rest.length > 0 ? rest.join(':') : undefined;
  await withStore(options.store, {}, async (store) => {
    const reader = await store.openPackage(packageId);
    const files: ScratchFile[] = [];
    try {
      const records = chosen(reader, disk);
      const disks = await openDisks(reader, records, options, files);
      await withAddress(listen, socket, async (address) => {
        const { onFault } = options;
        const server = await NbdServer.start({
          disks,
          listen: address,
          onFault,
          ...(tls && { tls }),
        });
        options.onReady(describe(packageId, server.address, disks, tls !== undefined));
        await aborted(options.signal, reader.signal);
        await server.close();
        for (const { changes } of disks.values()) await changes?.flush();
        reader.signal.throwIfAborted();
      });
    } finally {
      for (const file of files) await file.close();
      await reader.close();
    }
  });
}

function chosen(reader: PackageReader, disk: string | undefined): ImageRecord[] {
  if (disk !== undefined) return [reader.image(disk).record];
  const { id, images } = reader.manifest;
  const disks = images.filter(({ role }) => role === 'disk');
  if (disks.length > 0) return disks;
  const names = images.map((image) => image.name).join(', ') || 'no image';
  const text = `package "${id}" has no disk; it has ${names}: name one (${id}:IMAGE)`;
  throw failedPrecondition('NO_DISK', text, { packageId: id });
}

async function openDisks(
  reader: PackageReader,
  records: readonly ImageRecord[],
  { scratch, writable }: ServeDiskOptions,
  files: ScratchFile[],
): Promise<Map<string, ServedDisk>> {
  if (scratch && records.length > 1) {
    const names = records.map((record) => record.name).join(', ');
    throw usage(`--scratch is for one disk, and there are ${names}: name one (PACKAGE:DISK)`);
  }
  const cache = new BlockCache();
  const disks = new Map<string, ServedDisk>();
  for (const { name, root, logicalBytes } of records) {
    const image = reader.image(name);
    const base = image.isCut ? new ContentDisk(image) : new PackageDisk(image, cache);
    disks.set(name, base);
    if (!scratch && !writable) continue;
    const about = { packageId: reader.manifest.id, image: name, root, logicalBytes };
    const file = await (scratch ? ScratchFile.kept(scratch, about) : ScratchFile.temporary(about));
    files.push(file);
    disks.set(name, new ScratchDisk(base, file));
  }
  return disks;
}

/** Finds an address to listen on; a folder made for it goes with it. */
async function withAddress(
  listen: string | undefined,
  socket: string | undefined,
  work: (address: ListenAddress) => Promise<void>,
): Promise<void> {
  if (listen) return await work(parseListen(listen));
  if (socket) return await work({ socketPath: socket });
  const folder = await mkdtemp(join(tmpdir(), 'mano-disk-'));
  try {
    await work({ socketPath: join(folder, 'nbd.sock') });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function describe(
  packageId: string,
  address: ListenAddress,
  disks: ReadonlyMap<string, ServedDisk>,
  isEncrypted: boolean,
): Served {
  const exports = [...disks].map(([name, disk]) => ({
    name,
    uri: formatNbdAddress({ ...address, exportName: name }, isEncrypted),
    sizeBytes: disk.sizeBytes,
    writable: disk.changes !== undefined,
  }));
  return { package: packageId, uri: exports[0]!.uri, exports };
}

async function certificates(folder: string) {
  const read = async (name: string) => {
    const path = join(folder, name);
    return await readFile(path).catch((error: NodeJS.ErrnoException) => {
      const text =
        `${path} cannot be read (${error.code}): --certs must name a folder with ca-cert.pem, ` +
        'server-cert.pem and server-key.pem, as qemu-nbd takes it';
      throw invalidArgument('CERTS_MISSING', text, { file: path });
    });
  };
  const [ca, cert, key] = [
    await read('ca-cert.pem'),
    await read('server-cert.pem'),
    await read('server-key.pem'),
  ];
  return { ca, cert, key };
}

function aborted(...signals: AbortSignal[]): Promise<void> {
  const any = AbortSignal.any(signals);
  return new Promise((resolve) => {
    if (any.aborted) return resolve();
    any.addEventListener('abort', () => resolve(), { once: true });
  });
}

function usage(text: string) {
  return invalidArgument('USAGE', text);
}
