import type { DescService } from '@bufbuild/protobuf';
import { Code, internal, RpcError, unimplemented } from '../../sdk/errors.ts';
import type { Plugin, PluginContext, RunningPlugin } from '../../sdk/plugin.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import { parseMethodPath } from '../../sdk/services.ts';
import type { ByteHandler, CallStatus, IncomingCall } from '../../sdk/transport/transport.ts';
import { draining } from '../routing/running-calls.ts';

/** A plugin in this process: calls to it are dispatched without a socket. */
export class InProcessPlugin {
  readonly #plugin: Plugin;
  readonly #context: Omit<PluginContext, 'signal'>;
  readonly #stopping = new AbortController();
  readonly #handlers = new Map<string, ByteHandler>();
  #running: RunningPlugin | undefined;

  constructor(plugin: Plugin, context: Omit<PluginContext, 'signal'>) {
    this.#plugin = plugin;
    this.#context = context;
  }

  /**
   * Starts it and returns its services. @throws RpcError INTERNAL PLUGIN_START_FAILED, or the
   * plugin's own.
   */
  async start(): Promise<ReadonlyMap<string, DescService>> {
    const { instanceId } = this.#context;
    try {
      this.#running = await this.#plugin.start({ ...this.#context, signal: this.#stopping.signal });
    } catch (thrown) {
      this.#stopping.abort();
      if (thrown instanceof RpcError) throw thrown;
      // Not a call: the operator who starts the kernel may, and must, see the text.
      const problem = (thrown as Error)?.message ?? thrown;
      const text = `the plugin ${instanceId} did not start: ${problem}`;
      throw new RpcError(
        Code.INTERNAL,
        'PLUGIN_START_FAILED',
        text,
        { instance_id: instanceId },
        { cause: thrown },
      );
    }
    if (this.#stopping.signal.aborted) {
      // It was told to stop before there was anything to stop.
      await this.#running.stop?.();
      throw draining();
    }
    const services = new Map<string, DescService>();
    for (const { service, handle } of this.#running.services) {
      if (services.has(service.typeName)) {
        throw internal('PLUGIN_START_FAILED', `${instanceId} serves ${service.typeName} twice`, {
          instance_id: instanceId,
        });
      }
      services.set(service.typeName, service);
      this.#handlers.set(service.typeName, handle);
    }
    return services;
  }

  /** Stops it; gives up waiting after that time. Never rejects. */
  async stop(graceMs: number, logger: Logger): Promise<void> {
    this.#stopping.abort();
    const { instanceId } = this.#context;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        logger.warn('a plugin did not stop in time', { plugin: instanceId, graceMs });
        resolve();
      }, graceMs);
    });
    const stopped = (async () => this.#running?.stop?.())().catch((error) => {
      logger.error('a plugin failed to stop', { plugin: instanceId, error });
    });
    await Promise.race([stopped, timeout]);
    clearTimeout(timer);
  }

  async handle(call: IncomingCall): Promise<CallStatus> {
    const handle = this.#handlers.get(parseMethodPath(call.path)?.service ?? '');
    if (handle) return handle(call);
    throw unimplemented(
      'SERVICE_UNKNOWN',
      `${this.#context.instanceId} does not serve ${call.path}`,
    );
  }
}
