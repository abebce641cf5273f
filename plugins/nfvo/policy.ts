import type { Grant, GrantRequest } from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { GrantingPolicy, type SnapshotWindow } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { isWithin } from '../../sdk/windows.ts';
import {
  isExceeded,
  metadataFault,
  parseWindows,
  type Quota,
  quotaFault,
  type Usage,
} from './conditions.ts';
import { resourceMethods } from './resource-services.ts';

/**
 * One rule of the granting policy. The first rule that matches a request decides; conditions that are absent match
 * everything. `operations` are names of nfv.operation.v1.OperationType without their prefix.
 */
export type Rule = {
  name: string;
  operations?: string[];
  vnfdIds?: string[];
  vnfInstanceIds?: string[];
  /** Matches only requests that are expected to store more than this. */
  expectedBytesAbove?: number;
  /** Matches only VNFs with these key-value pairs, for example {"tenant": "red"}. */
  vnfMetadata?: Record<string, string>;
  /** Matches only at these times. */
  windows?: SnapshotWindow[];
  /** Matches only when what is asked would go beyond this. */
  quota?: Quota;
  /**
   * The rule is not about grants but about calls for resources that pass through the NFVO in indirect mode: names of the
   * VIM's RPCs, for example "CreateVirtualisedComputeResourceSnapshot". `operations` and `vnfInstanceIds` are then those
   * of the grant.
   */
  resourceCalls?: string[];
  /** "ask": a person decides; not for queries. */
  decision: 'grant' | 'refuse' | 'ask';
  /** Why, told to the requester of what is refused. */
  reason?: string;
};

/** What the NFVO grants. Without a rule that matches, `default` decides. */
export type Policy = { default: 'grant' | 'refuse' | 'ask'; rules: Rule[] };

export type Decision = { decision: 'grant' | 'refuse' | 'ask'; rule: string; reason: string };

/** What rules look at besides the request. */
export type Facts = {
  now: Date;
  /** Key-value pairs of the VNF; none for operations on packages alone. */
  vnfMetadata: Record<string, string>;
  /** What there is already, by the metadata key that a quota is for. */
  usage(quota: Quota): Usage;
};

/** The policy of an NFVO without configuration: everything is granted. */
export const openPolicy: Policy = { default: 'grant', rules: [] };

/**
 * Decides on a request: the policy's word, and the descriptor's (Vnfsd.015) where that is stricter or
 * the policy has only its default. Pure: the same policy, request and facts give the same decision.
 */
export function decide(policy: Policy, request: GrantRequest, facts: Facts): Decision {
  const rule = policy.rules.find((candidate) => matches(candidate, request, facts));
  const decision = rule?.decision ?? policy.default;
  const ours: Decision = {
    decision,
    rule: rule?.name ?? 'default',
    reason: rule?.reason ?? (rule ? `rule "${rule.name}"` : 'the default of the policy'),
  };
  const descriptor = descriptorDecision(request.descriptorPolicy);
  if (descriptor === undefined) return ours;
  const isOpen = rule === undefined && descriptor === 'grant';
  if (!isOpen && strictness[descriptor] <= strictness[decision]) return ours;
  return { decision: descriptor, rule: 'descriptor', reason: 'the descriptor of the VNF says so' };
}

const strictness = { grant: 0, ask: 1, refuse: 2 } as const;

function descriptorDecision(policy: GrantingPolicy): Decision['decision'] | undefined {
  if (policy === GrantingPolicy.ALWAYS) return 'grant';
  if (policy === GrantingPolicy.NEVER) return 'refuse';
  return policy === GrantingPolicy.APPROVAL ? 'ask' : undefined;
}

/** The rule that refuses a call for resources; none: it is passed on. Pure. */
export function decideOnResource(
  policy: Policy,
  method: string,
  grant: Pick<Grant, 'operation' | 'vnfInstanceId'> | undefined,
): Rule | undefined {
  const rule = policy.rules.find(
    ({ resourceCalls, operations, vnfInstanceIds }) =>
      resourceCalls?.includes(method) &&
      (!operations || operations.includes(OperationType[grant?.operation ?? 0] ?? '')) &&
      (!vnfInstanceIds || vnfInstanceIds.includes(grant?.vnfInstanceId ?? '')),
  );
  return rule?.decision === 'refuse' ? rule : undefined;
}

function matches(rule: Rule, request: GrantRequest, facts: Facts): boolean {
  if (rule.resourceCalls) return false;
  const operation = OperationType[request.operation] ?? '';
  if (rule.operations && !rule.operations.includes(operation)) return false;
  if (rule.vnfdIds && !rule.vnfdIds.includes(request.vnfdId)) return false;
  if (rule.vnfInstanceIds && !rule.vnfInstanceIds.includes(request.vnfInstanceId)) return false;
  const { expectedBytesAbove: above, windows, quota } = rule;
  if (above !== undefined && (request.expectedBytes ?? 0n) <= BigInt(above)) return false;
  const wanted = Object.entries(rule.vnfMetadata ?? {});
  if (wanted.some(([key, value]) => facts.vnfMetadata[key] !== value)) return false;
  if (windows && !isWithin(windows, facts.now)) return false;
  return !quota || isExceeded(quota, facts.usage(quota), request);
}

const ruleKeys: readonly string[] = [
  'name',
  'operations',
  'vnfdIds',
  'vnfInstanceIds',
  'expectedBytesAbove',
  'vnfMetadata',
  'windows',
  'quota',
  'resourceCalls',
  'decision',
  'reason',
];

/** Checks a policy from a configuration file. INVALID_ARGUMENT with the path of what is wrong. */
export function parsePolicy(value: unknown): Policy {
  if (value === undefined) return openPolicy;
  const policy = object(value, 'policy', ['default', 'rules']);
  const rules = policy.rules ?? [];
  if (!Array.isArray(rules)) throw invalid('policy.rules', 'must be a list');
  return {
    default: decision(policy.default ?? 'grant', 'policy.default'),
    rules: rules.map((rule, index) => parseRule(rule, `policy.rules[${index}]`)),
  };
}

function parseRule(value: unknown, path: string): Rule {
  const rule = object(value, path, ruleKeys);
  if (typeof rule.name !== 'string' || rule.name === '') {
    throw invalid(`${path}.name`, 'must be a text that is not empty');
  }
  for (const key of ['operations', 'vnfdIds', 'vnfInstanceIds', 'resourceCalls']) {
    if (rule[key] !== undefined && !isTexts(rule[key])) {
      throw invalid(`${path}.${key}`, 'must be a list of texts');
    }
  }
  for (const operation of (rule.operations as string[] | undefined) ?? []) {
    // A generated enum also has its numbers as names.
    if (typeof OperationType[operation as keyof typeof OperationType] !== 'number') {
      throw invalid(`${path}.operations`, `"${operation}" is not an operation`);
    }
  }
  const above = rule.expectedBytesAbove;
  if (above !== undefined && !(Number.isSafeInteger(above) && (above as number) >= 0)) {
    throw invalid(`${path}.expectedBytesAbove`, 'must be a whole number of bytes');
  }
  checkConditions(rule, path);
  decision(rule.decision, `${path}.decision`);
  if (rule.resourceCalls !== undefined) checkResourceRule(rule as Rule, path);
  if (rule.windows === undefined) return rule as Rule;
  return { ...(rule as Rule), windows: windowsOf(rule.windows, `${path}.windows`) };
}

function checkConditions({ vnfMetadata, quota, decision }: Record<string, unknown>, path: string) {
  const metadata = vnfMetadata === undefined ? undefined : metadataFault(vnfMetadata);
  if (metadata !== undefined) throw invalid(`${path}.vnfMetadata`, metadata);
  if (quota === undefined) return;
  const fault = quotaFault(quota);
  if (fault !== undefined) throw invalid(`${path}.quota`, fault);
  if (decision === 'grant') {
    throw invalid(`${path}.quota`, 'matches what goes beyond it: refuse that, or ask');
  }
}

function windowsOf(value: unknown, path: string): SnapshotWindow[] {
  try {
    return parseWindows(value);
  } catch (thrown) {
    throw invalid(path, (thrown as Error).message);
  }
}

/** Who could not look, let go or give back would leave guests held and resources lost. */
const neverRefused = /^(Query|Release|Unquiesce|Attach|Terminate|Delete|Close)/;

const unknownOfResources = [
  ...['vnfdIds', 'expectedBytesAbove', 'vnfMetadata', 'windows', 'quota'],
] as ('vnfdIds' | 'expectedBytesAbove' | 'vnfMetadata' | 'windows' | 'quota')[];

function checkResourceRule({ resourceCalls, ...rule }: Rule, path: string): void {
  for (const name of resourceCalls!) {
    if (!resourceMethods.includes(name)) {
      throw invalid(`${path}.resourceCalls`, `"${name}" is not an RPC of the VIM`);
    }
    if (rule.decision === 'refuse' && neverRefused.test(name)) {
      const text = `${name} lets go, gives back or looks, and cannot be refused`;
      throw invalid(`${path}.resourceCalls`, text);
    }
  }
  for (const key of unknownOfResources) {
    if (rule[key] !== undefined) throw invalid(`${path}.${key}`, 'is not known of resource calls');
  }
  if (rule.decision === 'ask') throw invalid(`${path}.decision`, 'resource calls cannot wait');
}

function object(value: unknown, path: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(path, 'must be an object');
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown) throw invalid(`${path}.${unknown}`, `is not known; known: ${keys.join(', ')}`);
  return value as Record<string, unknown>;
}

function decision(value: unknown, path: string): Decision['decision'] {
  if (value === 'grant' || value === 'refuse' || value === 'ask') return value;
  throw invalid(path, 'must be "grant", "refuse" or "ask"');
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function invalid(path: string, text: string) {
  return invalidArgument('CONFIG_INVALID', `nfvo.${path}: ${text}`, { path: `nfvo.${path}` });
}
