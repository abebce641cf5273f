import type { DescService } from '@bufbuild/protobuf';
import { Health, HealthCheckResponse_ServingStatus } from '../gen/grpc/health/v1/health_pb.js';
import { type Client, createClient } from '../sdk/client.ts';
import { Code, isRpcError, RpcError, unavailable } from '../sdk/errors.ts';
import type { Transport } from '../sdk/transport/transport.ts';

/** How long a command waits where nobody listens yet: `mano serve &` may be about to. */
const absentMsMax = 20_000;
/** How long it waits for a Micromano that is there and starts, or drains to start again. */
const startMsMax = 60_000;
const pauseMs = 200;
/** After this long somebody who watches is told what is waited for. */
const noticeMs = 1000;

/** What stands in the way may pass when the server starts: nobody listens yet, or it says so. */
const passing = /ENOENT|ECONNREFUSED|ECONNRESET|still starting|drains/;
/** What only a process that lives answers. */
const present = /still starting|drains/;

/**
 * Waits until the server at `place` takes calls: `mano serve &` and the next command may be typed
 * in one go.
 *
 * @throws RpcError UNAVAILABLE, SERVER_UNREACHABLE: nobody answers there; the text says what to do.
 */
export async function awaitServer(transport: Transport, place: string): Promise<void> {
  const health = createClient(Health, transport, { deadlineMs: absentMsMax });
  const startMs = performance.now();
  let isNoticed = false;
  for (;;) {
    const problem = await problemOf(health);
    if (problem === undefined) return;
    const waitedMs = performance.now() - startMs;
    const waitMsMax = present.test(problem) ? startMsMax : absentMsMax;
    if (!passing.test(problem) || waitedMs > waitMsMax) throw unreachable(place, problem);
    if (!isNoticed && waitedMs > noticeMs) {
      process.stderr.write(`mano: waiting for Micromano at ${place}\n`);
      isNoticed = true;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Undefined when the server takes calls. A server without health checks is left to the call itself. */
async function problemOf(health: Client<typeof Health>): Promise<string | undefined> {
  try {
    const { status } = await health.check({});
    const { SERVING } = HealthCheckResponse_ServingStatus;
    return status === SERVING ? undefined : 'it is still starting';
  } catch (thrown) {
    const silent = [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED].some((code) =>
      isRpcError(thrown, code),
    );
    if (!silent) return undefined;
    const { message } = thrown as RpcError;
    return /Last error: (?:Error: )?(.*?)\.? Resolution note/.exec(message)?.[1] ?? message;
  }
}

function unreachable(place: string, problem: string) {
  const advice = /certificate|TLS|SSL/i.test(problem)
    ? '--certs must name the pki folder of that server'
    : 'start one with mano serve --data DIR, or say with --data or --connect where it runs';
  const text = `no Micromano answers at ${place} (${problem}): ${advice}`;
  return unavailable('SERVER_UNREACHABLE', text, { place, problem });
}

/** Keeps at it while no server is there, for a command that is there for as long as its user wants. */
export async function untilServed<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const { metadata, message } = RpcError.from(error);
      if (!isRpcError(error, 'SERVER_UNREACHABLE')) throw error;
      if (!passing.test(metadata.problem ?? '')) throw error;
      process.stderr.write(`mano: ${message}; trying on until interrupted\n`);
    }
  }
}

type Call = (...parameters: unknown[]) => unknown;

/** The same client, which waits for `ready` before each call. */
export function gated<S extends DescService>(
  service: S,
  client: Client<S>,
  ready: () => Promise<void>,
): Client<S> {
  const calls = service.methods.map(({ localName, methodKind }) => {
    const call = (client as Record<string, Call>)[localName] as Call;
    const isStream = methodKind === 'server_streaming' || methodKind === 'bidi_streaming';
    return [localName, isStream ? gatedStream(call, ready) : gatedUnary(call, ready)];
  });
  return Object.fromEntries(calls) as Client<S>;
}

function gatedUnary(call: Call, ready: () => Promise<void>): Call {
  return async (...parameters) => {
    await ready();
    return call(...parameters);
  };
}

function gatedStream(call: Call, ready: () => Promise<void>): Call {
  return async function* (...parameters) {
    await ready();
    yield* call(...parameters) as AsyncIterable<unknown>;
  };
}
