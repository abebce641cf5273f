// A process that keeps the pool and the store open, as a server does, and packs on request.
// Started by warm-client.ts with an IPC channel: node bench/warm-service.ts STORE
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { openSource } from '../plugins/repository/sources/open-source.ts';
import { Store } from '../plugins/repository/store/store.ts';
import { CorePool } from '../wasm/host/core-pool.ts';
import type { Figures } from './types.ts';

export type WarmRequest = { image: string; parent: string; id: string; changedMap: string };
export type WarmAnswer = { figures: Figures } | { problem: string };

const pool = await CorePool.open();
const store = await Store.open(process.argv[2]!, { pool });

async function pack({ image, parent, id, changedMap }: WarmRequest): Promise<Figures> {
  const cpuFrom = process.cpuUsage();
  const from = performance.now();
  // Reading the map belongs to it: a service gets one with each request.
  const changed = JSON.parse(await readFile(changedMap, 'utf8'));
  const { source } = await openSource(image, { format: 'raw' });
  try {
    const name = basename(image);
    await store.pack([{ name, source, changed, changedOrigin: changedMap }], {
      parent,
      packageId: id,
    });
  } finally {
    await source.close();
  }
  const wallSeconds = (performance.now() - from) / 1000;
  const { user, system } = process.cpuUsage(cpuFrom);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  return { wallSeconds, cpuSeconds: (user + system) / 1e6, peakBytes };
}

process.on('message', async (request: WarmRequest) => {
  const answer: WarmAnswer = await pack(request).then(
    (figures) => ({ figures }),
    (error: Error) => ({ problem: error.stack ?? error.message }),
  );
  process.send!(answer);
});
process.once('disconnect', async () => {
  await store.close();
  await pool.close();
});
process.send!({ ready: true });
