/** Leases: who works in the repository now; docs/storage-format.md section 3. */
import { failedPrecondition, isRpcError, resourceExhausted } from '../../../sdk/errors.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import type { Area, Backend } from './backend.ts';
import { objectDamaged } from './faults.ts';
import { formatFramed, parseFramed } from './framed-text.ts';
import { framedTextBytesMax, leaseSkewMs, leasesMax } from './limits.ts';
import { isGone, ownIdentity, type ProcessIdentity } from './process-identity.ts';

export type LeaseKind = 'read' | 'write' | 'gc';

export type LeaseRecord = {
  id: string;
  kind: LeaseKind;
  holder: ProcessIdentity;
  startedAt: string;
  expiresAt: string;
};

export type LeaseContext = { backend: Backend; clock: Clock; random: Random; termMs: number };

/**
 * A lease of this process. HELD → RELEASED or LOST; `signal` aborts with LEASE_LOST in the latter
 * case.
 */
export class Lease {
  readonly area: Area;
  private readonly context: LeaseContext;
  readonly record: LeaseRecord;
  private readonly lost = new AbortController();
  private readonly ended = new AbortController();
  private renewal: Promise<void> = Promise.resolve();

  private constructor(context: LeaseContext, record: LeaseRecord, area: Area) {
    this.context = context;
    this.record = record;
    this.area = area;
  }

  /** Takes a lease and keeps it until `release`. */
  static async take(context: LeaseContext, kind: LeaseKind): Promise<Lease> {
    const id = context.random.uuid();
    const holder = await ownIdentity();
    const startedAt = context.clock.now().toISOString();
    const record: LeaseRecord = { id, kind, holder, startedAt, expiresAt: expiry(context) };
    const area = await createArea(context.backend, record);
    const lease = new Lease(context, record, area);
    lease.renewal = lease.renewUntilEnd();
    return lease;
  }

  get id(): string {
    return this.record.id;
  }

  /** Aborts when the lease is lost: whatever is in progress cannot be published any more. */
  get signal(): AbortSignal {
    return this.lost.signal;
  }

  /**
   * Keeps what a manifest reaches alive as long as this lease, even when the package is deleted.
   */
  async pin(packageId: string, manifest: Uint8Array): Promise<void> {
    await this.area.replace(`pin-${packageId}`, manifest);
  }

  async release(): Promise<void> {
    this.ended.abort();
    await this.renewal;
    await this.area.close();
  }

  private async renewUntilEnd(): Promise<void> {
    const { clock, termMs } = this.context;
    while (!this.ended.signal.aborted) {
      try {
        await clock.sleep(termMs / 3, this.ended.signal);
        this.record.expiresAt = expiry(this.context);
        await this.area.replace('lease', formatFramed('lease', this.record));
      } catch (error) {
        if (this.ended.signal.aborted) return;
        // A full disk may have room again before the term ends; a lease taken away never comes
        // back.
        if (isRpcError(error, 'LEASE_LOST')) return this.lost.abort(error);
      }
    }
  }
}

// Reading and collecting must go on when the store is full, else it could never be freed.
async function createArea(backend: Backend, record: LeaseRecord): Promise<Area> {
  const bytes = formatFramed('lease', record);
  try {
    return await backend.createArea(record.id, bytes);
  } catch (error) {
    const mayUseReserve = record.kind !== 'write' && isRpcError(error, 'STORE_FULL');
    if (!mayUseReserve || !(await backend.releaseReserve())) throw error;
    return await backend.createArea(record.id, bytes);
  }
}

function expiry({ clock, termMs }: LeaseContext): string {
  return new Date(clock.now().getTime() + termMs).toISOString();
}

/** Takes away dead leases and returns the live ones. */
export async function sweepLeases(context: LeaseContext): Promise<LeaseRecord[]> {
  const { backend, clock } = context;
  const own = await ownIdentity();
  const live: LeaseRecord[] = [];
  const ids = await backend.listAreas();
  if (ids.length > leasesMax) {
    const text = `${backend.path('tmp/')} has ${ids.length} leases, more than ${leasesMax}`;
    throw resourceExhausted('TOO_MANY_LEASES', text, { leases: String(ids.length) });
  }
  for (const id of ids) {
    const record = await readLease(backend, id);
    // An area has its lease from its first moment: without one it was released, or the power went.
    const isAlone = record === 'gone' || record === 'damaged';
    if (!isAlone && !(await isDead(record, own, clock))) live.push(record);
    else await backend.takeAwayArea(id);
  }
  await backend.removeLeftovers(clock.now().getTime(), context.termMs);
  return live;
}

async function isDead(record: LeaseRecord, own: ProcessIdentity, clock: Clock): Promise<boolean> {
  const expiresMs = Date.parse(record.expiresAt);
  if (!(clock.now().getTime() <= expiresMs + leaseSkewMs)) return true;
  return await isGone(record.holder, own);
}

// Leases are not fsynced: after a power cut one may be empty, and then its holder is gone as well.
async function readLease(backend: Backend, id: string): Promise<LeaseRecord | 'damaged' | 'gone'> {
  const name = `tmp/${id}/lease`;
  const bytes = await backend.readAll(name, framedTextBytesMax);
  if (bytes === undefined) return 'gone';
  try {
    return parseLease(bytes, backend.path(name));
  } catch (error) {
    if (isRpcError(error, 'OBJECT_DAMAGED')) return 'damaged';
    throw error;
  }
}

/** Reads a lease. OBJECT_DAMAGED (DATA_LOSS), FORMAT_TOO_NEW (FAILED_PRECONDITION). */
export function parseLease(bytes: Uint8Array, path: string): LeaseRecord {
  const record = parseFramed('lease', bytes, path) as Partial<LeaseRecord>;
  const { id, kind, startedAt, expiresAt, holder } = record;
  const { host, startTicks, bootId, pidNamespace, pid } = holder ?? {};
  const texts = [id, kind, startedAt, expiresAt, host, startTicks, bootId, pidNamespace];
  const isWhole = texts.every((text) => typeof text === 'string') && Number.isSafeInteger(pid);
  if (!isWhole) throw objectDamaged(path, 0, 'is no lease');
  return record as LeaseRecord;
}

/** The manifests that live leases pin, by object name. */
export async function readPins(backend: Backend): Promise<Map<string, Uint8Array>> {
  const pins = new Map<string, Uint8Array>();
  for (const id of await backend.listAreas()) {
    for (const name of await backend.list(`tmp/${id}/`)) {
      if (!name.startsWith(`tmp/${id}/pin-`) || name.endsWith('.new')) continue;
      const bytes = await backend.readAll(name, framedTextBytesMax);
      if (bytes !== undefined) pins.set(name, bytes);
    }
  }
  return pins;
}

/**
 * Refuses to collect or repair beside another that does. Of two that begin at once the older one
 * goes on; should both, they do no harm. GC_RUNNING (FAILED_PRECONDITION).
 */
export function refuseSecondCollection(own: LeaseRecord, others: readonly LeaseRecord[]): void {
  const other = others.find(({ kind, startedAt, id }) => {
    const isOlder = startedAt < own.startedAt || (startedAt === own.startedAt && id < own.id);
    return kind === 'gc' && isOlder;
  });
  if (other === undefined) return;
  const { host, pid } = other.holder;
  const text =
    `process ${pid} on ${host} collects garbage or repairs since ${other.startedAt}: ` +
    'wait for it';
  throw failedPrecondition('GC_RUNNING', text, { host, pid: String(pid), leaseId: other.id });
}
