import { join } from 'node:path';
import type { Vnfm } from '../vnfm.ts';

/** Where an archive waits that an operation fetches from, or sends to, an HTTP(S) address. */
export function waitingPath({ transferFolder }: Vnfm, operationId: string): string {
  return join(transferFolder, `${operationId}.zip`);
}
