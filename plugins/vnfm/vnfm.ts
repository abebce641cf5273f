import type { OperationEngine } from '../../sdk/operations/engine.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import type { RecordStore } from '../../sdk/records/record-store.ts';
import type { RequestIds } from '../../sdk/request-ids.ts';
import type { VnfmConfig } from './config.ts';
import type { NotificationHub } from './notification/hub.ts';
import type { Peers } from './peers.ts';

/** What procedures work with. */
export type Vnfm = {
  readonly config: VnfmConfig;
  readonly store: RecordStore;
  readonly peers: Peers;
  readonly hub: NotificationHub;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** New with each start: what one process holds, another must not believe to hold. */
  readonly epoch: string;
};

/** What the services work with: procedures and the engine that runs them. */
export type VnfmServices = Vnfm & {
  readonly engine: OperationEngine;
  readonly requests: RequestIds;
};
