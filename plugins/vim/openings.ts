import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import { jsonCollection, type RecordStore } from '../../sdk/records/record-store.ts';
import type { Drivers } from './drivers.ts';

/** How long a driver may take to close data after the caller went away. */
const closeDeadlineMs = 30_000;

const collection = jsonCollection<{ driver: string }>('opening');

/**
 * What drivers hold open for the VIM. An opening is noted before the driver is asked for it: one
 * that a crash leaves behind would keep its snapshot from being deleted, and is closed at the next
 * start.
 */
export class Openings {
  private readonly store: RecordStore;
  private readonly drivers: Drivers;
  private readonly random: Random;
  private readonly logger: Logger;

  constructor(parts: { store: RecordStore; drivers: Drivers; random: Random; logger: Logger }) {
    this.store = parts.store;
    this.drivers = parts.drivers;
    this.random = parts.random;
    this.logger = parts.logger;
  }

  /** Notes an opening that a driver will be asked for; returns its token. */
  async begin(driver: string): Promise<string> {
    const token = this.random.uuid();
    await this.store.collection(collection).put(token, { driver });
    return token;
  }

  /** Closes an opening. One that cannot be closed now stays noted for the next start. */
  async end(token: string, driver: string): Promise<void> {
    try {
      await this.drivers.client(driver).closeData({ token }, { deadlineMs: closeDeadlineMs });
      await this.store.collection(collection).delete(token);
    } catch (error) {
      this.logger.warn('snapshot data could not be closed; the next start tries again', {
        driver,
        error,
      });
    }
  }

  /** Closes what a predecessor left open. */
  async endAll(): Promise<void> {
    let after: string | undefined;
    do {
      const page = await this.store.collection(collection).list(after ? { after } : {});
      for (const { id: token, value } of page.records) await this.end(token, value.driver);
      after = page.next;
    } while (after);
  }
}
