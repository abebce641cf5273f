import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { CapabilityName, DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { type Code, RpcError } from '../../../sdk/errors.ts';
import type { Transport } from '../../../sdk/transport/transport.ts';
import type { ConformanceOptions, Guest } from './profile.ts';
import { type DriverClient, Tracker } from './tracker.ts';

/** Something that a driver must do. `needs` names the capabilities without which it is skipped. */
export type Check = {
  /** "concern §method: what holds". */
  title: string;
  needs?: readonly CapabilityName[];
  /** It kills the driver. */
  kills?: boolean;
  run(kit: Kit): Promise<void>;
};

/**
 * Each call of a check may take this long, in milliseconds: booting and capturing under emulation
 * included.
 */
const callMsMax = 180_000;
const pollMs = 25;
/** How long something that must come about by itself may take, in milliseconds. */
const eventuallyMsDefault = 20_000;

/** What a check works with. */
export class Kit {
  readonly options: ConformanceOptions;
  readonly tracker: Tracker;
  /** The gateway that checks share, when they do. */
  shared: Guest | undefined;
  readonly #available: ReadonlySet<CapabilityName>;
  #client: DriverClient;
  #ids = 0;

  private constructor(
    options: ConformanceOptions,
    client: DriverClient,
    available: ReadonlySet<CapabilityName>,
  ) {
    this.options = options;
    this.#client = client;
    this.#available = available;
    this.tracker = new Tracker(() => this.client);
  }

  static async open(options: ConformanceOptions): Promise<Kit> {
    const client = makeClient(options, options.transport);
    const available = new Set<CapabilityName>();
    for await (const { capabilities } of client.watchCapabilities({})) {
      for (const { name, available: yes } of capabilities) if (yes) available.add(name);
      break;
    }
    return new Kit(options, client, available);
  }

  get client(): DriverClient {
    return this.#client;
  }

  /** Kills the driver and goes on with the one that is opened after it. */
  async killAndReopen(): Promise<void> {
    const { killAndReopen } = this.options;
    assert(killAndReopen);
    this.#client = makeClient(this.options, await killAndReopen());
  }

  can(capability: CapabilityName): boolean {
    return this.#available.has(capability);
  }

  /** An identifier that nothing has. */
  id(kind: string): string {
    return `kit-${kind}-${++this.#ids}-${randomBytes(4).toString('hex')}`;
  }
}

function makeClient({ target }: ConformanceOptions, transport: Transport): DriverClient {
  const defaults = { deadlineMs: callMsMax, ...(target === undefined ? {} : { target }) };
  return createClient(DriverService, transport, defaults);
}

/** Asserts that a call fails with this code *and* this reason; returns the error. */
export async function fails(
  call: Promise<unknown>,
  code: Code,
  reason?: string,
): Promise<RpcError> {
  const thrown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert(thrown instanceof RpcError, `expected an error with reason ${reason}, got none`);
  const expected = { code, reason: reason ?? thrown.reason };
  assert.deepEqual({ code: thrown.code, reason: thrown.reason }, expected, thrown.message);
  return thrown;
}

/** Waits until something holds; the last reason why it did not is the cause of the failure. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false>,
  withinMs: number = eventuallyMsDefault,
): Promise<T> {
  const end = performance.now() + withinMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await check();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`${what}: not within ${withinMs} ms: ${String(last ?? '')}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** Takes the first message of a stream that fits, and leaves the stream. */
export async function firstOf<T>(
  stream: AsyncIterable<T>,
  fits: (message: T) => boolean,
): Promise<T | undefined> {
  for await (const message of stream) if (fits(message)) return message;
  return undefined;
}

export function seconds(count: number): { seconds: bigint; nanos: number } {
  const whole = Math.floor(count);
  return { seconds: BigInt(whole), nanos: Math.round((count - whole) * 1e9) };
}

/** Names a capability as it appears in errors. */
export function capabilityText(capability: CapabilityName): string {
  return CapabilityName[capability] as string;
}
