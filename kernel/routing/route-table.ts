import type { DescMethod, DescService } from '@bufbuild/protobuf';
import {
  invalidArgument,
  notFound,
  permissionDenied,
  type RpcError,
  unimplemented,
} from '../../sdk/errors.ts';
import { methodPath, parseMethodPath } from '../../sdk/services.ts';
import type { Caller } from '../../sdk/transport/peer-identity.ts';
import type { ByteHandler } from '../../sdk/transport/transport.ts';
import { notExposed, referencePoints } from './admission.ts';

/** A place to which calls go. */
export type RouteInstance = {
  readonly instanceId: string;
  readonly role: string;
  readonly services: ReadonlyMap<string, DescService>;
  /** Services that every authenticated caller may use, whatever their options say. */
  readonly openServices?: ReadonlySet<string>;
  readonly handle: ByteHandler;
};

/** A call that is to be routed. */
export type RouteRequest = { path: string; caller: Caller; target?: string | undefined };

/** Where a call goes. */
export type RouteDecision = { instance: RouteInstance; method: DescMethod };

/**
 * A rule of the operator's beyond the reference points: a text refuses the call and says why.
 * It is asked for the calls that the reference points admit.
 */
export type Policy = (call: {
  caller: Caller;
  method: string;
  instanceId: string;
  producer: string;
  referencePoints: readonly string[];
}) => string | undefined;

/** Which instance serves what. Pure: it decides, and somebody else forwards. */
export class RouteTable {
  readonly #instances = new Map<string, RouteInstance>();
  readonly #policy: Policy;

  constructor(policy: Policy = () => undefined) {
    this.#policy = policy;
  }

  /** Adds an instance, or replaces the one with its id. */
  set(instance: RouteInstance): void {
    this.#instances.set(instance.instanceId, instance);
  }

  remove(instanceId: string): void {
    this.#instances.delete(instanceId);
  }

  /** The instances that serve a service. */
  serving(service: string): RouteInstance[] {
    return [...this.#instances.values()].filter((instance) => instance.services.has(service));
  }

  /** Every service that is served, by name; the first instance's descriptor stands for all. */
  services(): Map<string, DescService> {
    const services = new Map<string, DescService>();
    for (const instance of this.#instances.values()) {
      for (const [name, service] of instance.services) {
        if (!services.has(name)) services.set(name, service);
      }
    }
    return services;
  }

  /**
   * Finds the instance for a call.
   *
   * @throws RpcError UNIMPLEMENTED SERVICE_UNKNOWN or METHOD_UNIMPLEMENTED; NOT_FOUND
   * TARGET_UNKNOWN; PERMISSION_DENIED NOT_EXPOSED or POLICY; INVALID_ARGUMENT TARGET_AMBIGUOUS.
   */
  resolve(request: RouteRequest): RouteDecision {
    const service = parseMethodPath(request.path)?.service ?? '';
    const serving = this.serving(service);
    if (serving.length === 0) throw serviceUnknown(service);
    if (request.target) return this.#resolveTarget(request, request.target, service, serving);
    const decisions = serving.map((instance) => decide(instance, service, request.path));
    const admitted = decisions.filter(
      (decision) => this.#refusal(decision, request.caller) === undefined,
    );
    const [only] = admitted;
    if (only && admitted.length === 1) return only;
    if (!only) throw this.#refusal(decisions[0] as RouteDecision, request.caller) as RpcError;
    throw ambiguous(service, admitted);
  }

  #resolveTarget(
    request: RouteRequest,
    target: string,
    service: string,
    serving: RouteInstance[],
  ): RouteDecision {
    const instance = serving.find((candidate) => candidate.instanceId === target);
    if (!instance) throw targetUnknown(target, service, serving);
    const decision = decide(instance, service, request.path);
    const refusal = this.#refusal(decision, request.caller);
    if (refusal) throw refusal;
    return decision;
  }

  #refusal({ instance, method }: RouteDecision, caller: Caller): RpcError | undefined {
    if (instance.openServices?.has(method.parent.typeName)) return undefined;
    const points = referencePoints(method, instance.role, caller.role);
    if (points.length === 0) return notExposed(method, caller.role);
    const path = methodPath(method);
    const { instanceId, role: producer } = instance;
    const text = this.#policy({
      caller,
      method: path,
      instanceId,
      producer,
      referencePoints: points,
    });
    if (text === undefined) return undefined;
    return permissionDenied('POLICY', text, {
      role: caller.role,
      method: path,
      reference_points: points.join(', '),
    });
  }
}

function decide(instance: RouteInstance, service: string, path: string): RouteDecision {
  const methods = instance.services.get(service)?.methods ?? [];
  const method = methods.find((candidate) => methodPath(candidate) === path);
  if (method) return { instance, method };
  const text = `the service ${service} has no method ${path}`;
  throw unimplemented('METHOD_UNIMPLEMENTED', text, { method: path });
}

function serviceUnknown(service: string): RpcError {
  const text = `no plugin serves ${service || 'a service of that name'}`;
  return unimplemented('SERVICE_UNKNOWN', text, { service });
}

function names(instances: readonly RouteInstance[]): string {
  return instances.map((instance) => instance.instanceId).join(', ');
}

function targetUnknown(target: string, service: string, serving: RouteInstance[]): RpcError {
  const known = names(serving);
  const text = `no plugin "${target}" serves ${service}; it is served by ${known}`;
  return notFound('TARGET_UNKNOWN', text, { target, service, known });
}

function ambiguous(service: string, admitted: RouteDecision[]): RpcError {
  const known = names(admitted.map((decision) => decision.instance));
  const text = `several plugins serve ${service} (${known}): name one as the target of the call`;
  return invalidArgument('TARGET_AMBIGUOUS', text, { service, known });
}
