import type { DescService } from '@bufbuild/protobuf';
import {
  type GetPluginInfoResponse,
  PluginService,
} from '../../gen/nfv/plugin/v1/plugin_service_pb.js';
import { type Client, createClient } from '../../sdk/client.ts';
import { Code, isRpcError, RpcError, unavailable } from '../../sdk/errors.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { CallStatus, IncomingCall } from '../../sdk/transport/transport.ts';
import type { KernelLimits } from '../limits.ts';
import { PluginState, type Registry } from '../registry.ts';
import { forward, namePlugin } from '../routing/forward.ts';
import { Backoff } from './backoff.ts';
import type { Connection, Connector } from './connector.ts';
import { assertExpected, kernelApiVersions, negotiate } from './negotiation.ts';

export type RemotePluginOptions = {
  instanceId: string;
  role: string;
  connector: Connector;
  registry: Registry;
  limits: KernelLimits;
  clock: Clock;
  logger: Logger;
  /**
   * Takes the plugin's services in, each time it was reached anew; throws when it may not serve
   * them.
   */
  onInfo: (info: GetPluginInfoResponse) => ReadonlyMap<string, DescService>;
};

/**
 * Services of the infrastructure: a plugin may serve them, but calls to them are for the kernel's
 * own.
 */
const ownServices = /^(grpc\.|nfv\.plugin\.)/;

/**
 * A plugin outside this process, and its supervision: reach it → handshake → probe it until it is
 * gone → wait → again. A wrong answer in the handshake is final (FAILED), a missing one is not.
 */
export class RemotePlugin {
  readonly #options: RemotePluginOptions;
  readonly #stopping = new AbortController();
  #connection: Connection | undefined;
  #supervision: Promise<void> = Promise.resolve();

  constructor(options: RemotePluginOptions) {
    this.#options = options;
  }

  /**
   * Starts supervision; resolves when the first attempt to reach the plugin has succeeded or
   * failed.
   */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#supervision = this.#supervise(resolve).finally(resolve);
    });
  }

  /** Ends supervision, then the plugin's process if the kernel started it. Never rejects. */
  async stop(graceMs: number): Promise<void> {
    const connection = this.#connection;
    this.#stopping.abort();
    await connection?.close(graceMs);
    await this.#supervision;
  }

  /** Forwards a call. */
  async handle(call: IncomingCall): Promise<CallStatus> {
    const { instanceId } = this.#options;
    const connection = this.#connection;
    if (!connection) {
      const text = `the plugin ${instanceId} cannot be reached`;
      throw unavailable('PLUGIN_UNAVAILABLE', text, { target: instanceId, state: 'DOWN' });
    }
    return namePlugin(await forward(call, connection.channel), instanceId);
  }

  async #supervise(onFirstAttempt: () => void): Promise<void> {
    const { limits, clock, registry, instanceId, connector } = this.#options;
    const backoff = new Backoff(limits.backoffMsMin, limits.backoffMsMax);
    for (let round = 0; !this.#stopping.signal.aborted; round++) {
      if (round > 0) registry.update(instanceId, { restartCount: round });
      const startedMs = clock.monotonicMs();
      const problem = await this.#attempt(onFirstAttempt);
      onFirstAttempt();
      if (this.#stopping.signal.aborted) return;
      if (clock.monotonicMs() - startedMs >= limits.steadyMs) backoff.reset();
      const givenUp = connector.ownsProcess && backoff.attempts >= limits.restartsInARowMax;
      const final = isRpcError(problem, Code.FAILED_PRECONDITION) || givenUp;
      this.#report(problem, final);
      if (final) return;
      await this.#wait(backoff.next());
    }
  }

  #report(problem: RpcError, final: boolean): void {
    const { registry, instanceId, logger } = this.#options;
    const state = final ? PluginState.FAILED : PluginState.DOWN;
    registry.update(instanceId, { state, reason: problem.message });
    logger[final ? 'error' : 'warn']('a plugin is down', {
      plugin: instanceId,
      problem: problem.message,
      final,
    });
  }

  /** One life of the plugin; returns why it ended. */
  async #attempt(onReached: () => void): Promise<RpcError> {
    const { registry, instanceId, limits } = this.#options;
    const problem = await this.#live(onReached).catch((thrown) => RpcError.from(thrown));
    const connection = this.#connection;
    this.#connection = undefined;
    if (this.#stopping.signal.aborted) return problem;
    registry.update(instanceId, { state: PluginState.DOWN, reason: problem.message });
    await connection?.close(limits.stopMs);
    return problem;
  }

  async #live(onReached: () => void): Promise<RpcError> {
    const { connector, instanceId, logger } = this.#options;
    const connection = await connector.connect(this.#stopping.signal);
    this.#connection = connection;
    const client = createClient(PluginService, connection.channel);
    await this.#handshake(client, connection.address);
    logger.info('a plugin is reached', { plugin: instanceId, address: connection.address });
    return this.#watch(client, connection, onReached);
  }

  async #handshake(client: Client<typeof PluginService>, address: string): Promise<void> {
    const { instanceId, role, registry, limits, onInfo } = this.#options;
    const { min: apiVersionMin, max: apiVersionMax } = kernelApiVersions;
    const options = { deadlineMs: limits.startMs, signal: this.#stopping.signal };
    const info = await client.getPluginInfo({ apiVersionMin, apiVersionMax }, options);
    assertExpected(info, { instanceId, role });
    const theirs = { min: info.apiVersionMin, max: info.apiVersionMax };
    const apiVersion = negotiate(instanceId, kernelApiVersions, theirs);
    info.services = info.services.filter((service) => !ownServices.test(service));
    const services = onInfo(info);
    registry.update(instanceId, {
      name: info.name,
      version: info.version,
      capabilities: info.capabilities,
      services: [...services.keys()],
      apiVersion,
      address,
    });
  }

  /** Probes the plugin until it is gone; returns why. */
  async #watch(
    client: Client<typeof PluginService>,
    connection: Connection,
    onReached: () => void,
  ): Promise<RpcError> {
    const { limits } = this.#options;
    let gone: string | undefined;
    const wake = new AbortController();
    void connection.ended.then((reason) => {
      gone = reason;
      wake.abort();
    });
    const signal = AbortSignal.any([wake.signal, this.#stopping.signal]);
    let misses = 0;
    while (!signal.aborted) {
      const missed = await this.#probe(client, signal);
      if (!missed) misses = 0;
      else if (isRpcError(missed, Code.UNAVAILABLE) || ++misses >= limits.probeMissesMax) {
        if (gone === undefined) return missed;
      }
      onReached();
      await this.#options.clock.sleep(limits.probeIntervalMs, signal).catch(() => {});
    }
    return unavailable('PLUGIN_UNAVAILABLE', gone ?? 'the kernel stops');
  }

  /** Asks once; returns the error when there was no answer. */
  async #probe(
    client: Client<typeof PluginService>,
    signal: AbortSignal,
  ): Promise<RpcError | undefined> {
    const { registry, instanceId, limits } = this.#options;
    try {
      const { ready, reason } = await client.probe({}, { deadlineMs: limits.probeMs, signal });
      const state = ready ? PluginState.READY : PluginState.UNREADY;
      if (this.#stopping.signal.aborted) return undefined;
      const known = registry.get(instanceId);
      if (known.state !== state || known.reason !== reason) {
        registry.update(instanceId, { state, reason });
      }
      return undefined;
    } catch (thrown) {
      return RpcError.from(thrown);
    }
  }

  async #wait(ms: number): Promise<void> {
    await this.#options.clock.sleep(ms, this.#stopping.signal).catch(() => {});
  }
}
