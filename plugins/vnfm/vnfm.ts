import type { OperationEngine } from '../../sdk/operations/engine.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import type { RecordStore } from '../../sdk/records/record-store.ts';
import type { RequestIds } from '../../sdk/request-ids.ts';
import type { ArchiveShelf } from './archives/shelf.ts';
import type { Indicators } from './automation/indicators.ts';
import type { OwnOperations } from './automation/own-operations.ts';
import type { VnfmConfig } from './config.ts';
import type { NotificationHub } from './notification/hub.ts';
import type { Peers } from './peers.ts';

/** What procedures work with. */
export type Vnfm = {
  readonly config: VnfmConfig;
  /** Where archives on their way from and to HTTP(S) addresses wait. */
  readonly transferFolder: string;
  /** Archives that callers upload and download. */
  readonly shelf: ArchiveShelf;
  readonly store: RecordStore;
  readonly peers: Peers;
  readonly hub: NotificationHub;
  /** What the VNFs say of themselves. */
  readonly indicators: Indicators;
  /** What the VNFM starts by itself. */
  readonly own: OwnOperations;
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
