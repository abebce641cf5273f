import { ComputeState } from '../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import {
  jsonCollection,
  type RecordStore,
  type Transaction,
} from '../../sdk/records/record-store.ts';
import { Repeated } from './automation/repeated.ts';
import type { Peers } from './peers.ts';

/**
 * Components that were reverted with frozen file systems and left held for a look (`hold_after`).
 * When nobody lets them run in time, the driver's watchdog does; it does not thaw, so this does.
 */
type LateThaw = {
  operationId: string;
  vim: string;
  computeIds: string[];
  /** When the watchdog lets go, in milliseconds since 1970. */
  dueMs: number;
  attempts: number;
};

/** By VNF instance. */
const lateThaws = jsonCollection<LateThaw>('late-thaws');
/** How often it looks: a thaw is late by this at most. */
const pollMs = 2_000;
/** The watchdog needs a moment, and a VIM that is away is asked again: for ten minutes. */
const attemptsMax = 300;

/** Remembers in the transaction that ends the reversion. */
export async function rememberThaw(
  tx: Transaction,
  vnfInstanceId: string,
  thaw: Omit<LateThaw, 'attempts'>,
): Promise<void> {
  await tx.collection(lateThaws).put(vnfInstanceId, { ...thaw, attempts: 0 });
}

/** The VNF was let run, or is gone. */
export async function forgetThaw(tx: Transaction, vnfInstanceId: string): Promise<void> {
  await tx.collection(lateThaws).delete(vnfInstanceId);
}

/** Thaws in the background what nobody else has thawed. */
export class LateThaws {
  readonly #store: RecordStore;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #repeated: Repeated;

  constructor(parts: { store: RecordStore; peers: Peers; clock: Clock; logger: Logger }) {
    this.#store = parts.store;
    this.#peers = parts.peers;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
    this.#repeated = new Repeated(parts.clock, pollMs, (signal) => this.#thawDue(signal));
  }

  start(): void {
    this.#repeated.start();
  }

  async stop(): Promise<void> {
    await this.#repeated.stop();
  }

  async #thawDue(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now().getTime();
    try {
      const { records } = await this.#store.collection(lateThaws).list();
      for (const { id, value } of records) {
        if (value.dueMs <= nowMs) await this.#thaw(id, value, signal);
      }
    } catch (error) {
      this.#logger.error('late thaws cannot be read', { error });
    }
  }

  async #thaw(vnfInstanceId: string, thaw: LateThaw, signal: AbortSignal): Promise<void> {
    try {
      const { compute } = this.#peers.vim(thaw.vim);
      const { computeIds, operationId } = thaw;
      const { queryResult } = await compute.queryVirtualisedComputeResource(
        { computeIds },
        { signal },
      );
      const running = queryResult.filter(({ state }) => state === ComputeState.RUNNING);
      for (const { computeId } of running.filter(({ quiesced }) => quiesced)) {
        const call = { operationId, stepId: `late thaw ${computeId}` };
        await compute.unquiesceVirtualisedComputeResource({ computeId, call }, { signal });
        this.#logger.info('thawed after the watchdog', { computeId });
      }
      // What is still held runs in a moment; what is stopped has nothing frozen.
      if (queryResult.some(({ hold }) => hold !== undefined))
        return this.#later(vnfInstanceId, thaw);
      await this.#store.collection(lateThaws).delete(vnfInstanceId);
    } catch (error) {
      if (signal.aborted) return;
      this.#logger.warn('not thawed yet', { vnf: vnfInstanceId, error });
      await this.#later(vnfInstanceId, thaw);
    }
  }

  async #later(vnfInstanceId: string, thaw: LateThaw): Promise<void> {
    const attempts = thaw.attempts + 1;
    if (attempts >= attemptsMax) {
      this.#logger.error('given up to thaw', { vnf: vnfInstanceId, attempts });
      await this.#store.collection(lateThaws).delete(vnfInstanceId);
      return;
    }
    await this.#store.transaction(async (tx) => {
      // Somebody may have let the VNF run meanwhile.
      if (!(await tx.collection(lateThaws).get(vnfInstanceId))) return;
      await tx.collection(lateThaws).put(vnfInstanceId, { ...thaw, attempts });
    });
  }
}
