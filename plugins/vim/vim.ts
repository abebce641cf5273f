import type { RepositoryService } from '../../gen/nfv/repository/v1/repository_pb.js';
import type { CallOptions, Client } from '../../sdk/client.ts';
import { isRpcError } from '../../sdk/errors.ts';
import { msUntil } from '../../sdk/ports/deadline.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { HandlerContext } from '../../sdk/server.ts';
import type { DriverClient, Drivers } from './drivers.ts';
import type { Openings } from './openings.ts';
import type { ResourceKind, Resources } from './resources.ts';

export type RepositoryClient = Client<typeof RepositoryService>;

/** What the VIM's services share. */
export class Vim {
  readonly drivers: Drivers;
  readonly resources: Resources;
  readonly openings: Openings;
  readonly repository: RepositoryClient;
  readonly logger: Logger;

  constructor(parts: {
    drivers: Drivers;
    resources: Resources;
    openings: Openings;
    repository: RepositoryClient;
    logger: Logger;
  }) {
    this.drivers = parts.drivers;
    this.resources = parts.resources;
    this.openings = parts.openings;
    this.repository = parts.repository;
    this.logger = parts.logger;
  }

  /** The driver that gets a new resource. */
  placeOf(request: { virtualisationEnvironment: string; targetHost: string }): Promise<string> {
    return this.drivers.placeFor(request.virtualisationEnvironment, request.targetHost);
  }

  /** The driver that has a resource. NOT_FOUND with the kind's reason. */
  async of(kind: ResourceKind, id: string): Promise<{ driver: string; client: DriverClient }> {
    const driver = await this.resources.driverOf(kind, id);
    return { driver, client: this.drivers.client(driver) };
  }

  /** The call's own deadline and cancellation, at most `deadlineMs`. */
  options(context: HandlerContext, deadlineMs = 60_000): CallOptions {
    const left = context.deadline ? msUntil(context.deadline) : deadlineMs;
    return { signal: context.signal, deadlineMs: Math.max(1, Math.min(left, deadlineMs)) };
  }

  /** Reads named resources; those that nobody has are left out. */
  async each<T extends object>(
    ids: readonly string[],
    kind: ResourceKind,
    read: (client: DriverClient, id: string) => Promise<T | undefined>,
  ): Promise<(T & { driver: string })[]> {
    const found = await Promise.all(
      ids.map(async (id) => {
        const driver = await this.resources.find(kind, id);
        if (!driver) return [];
        try {
          const item = await read(this.drivers.client(driver), id);
          return item ? [{ ...item, driver }] : [];
        } catch (thrown) {
          if (isRpcError(thrown, 'NOT_FOUND') || isUnknown(thrown)) return [];
          throw thrown;
        }
      }),
    );
    return found.flat();
  }

  /** Reads the resources of every driver. A driver that does not answer is an error: a short list would be a lie. */
  async all<T extends object>(
    read: (client: DriverClient) => Promise<T[]>,
  ): Promise<(T & { driver: string })[]> {
    const lists = await Promise.all(
      this.drivers.instances.map(async (driver) => {
        const items = await read(this.drivers.client(driver));
        return items.map((item) => ({ ...item, driver }));
      }),
    );
    return lists.flat();
  }
}

/** True for a driver's answer that it has no such thing. */
export function isUnknown(thrown: unknown): boolean {
  return isRpcError(thrown) && thrown.reason.endsWith('_UNKNOWN');
}

/** A VIM request without what only the VIM reads; the rest has the same names and types at the driver. */
export function forwarded<T extends { $typeName: string; resourceProviderId: string }>(
  request: T,
): Omit<T, '$typeName' | 'resourceProviderId'> {
  const { $typeName, resourceProviderId, ...rest } = request;
  return rest;
}
