import type { Grant, GrantRequest } from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
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
  /**
   * The rule is not about grants but about calls for resources that pass through the NFVO in indirect mode: names of the
   * VIM's RPCs, for example "CreateVirtualisedComputeResourceSnapshot". `operations` and `vnfInstanceIds` are then those
   * of the grant.
   */
  resourceCalls?: string[];
  decision: 'grant' | 'refuse';
  /** Why, told to the requester of what is refused. */
  reason?: string;
};

/** What the NFVO grants. Without a rule that matches, `default` decides. */
export type Policy = { default: 'grant' | 'refuse'; rules: Rule[] };

export type Decision = { granted: boolean; rule: string; reason: string };

/** The policy of an NFVO without configuration: everything is granted. */
export const openPolicy: Policy = { default: 'grant', rules: [] };

/** Decides on a request. Pure: the same policy and request give the same decision. */
export function decide(policy: Policy, request: GrantRequest): Decision {
  const rule = policy.rules.find((candidate) => matches(candidate, request));
  const decision = rule?.decision ?? policy.default;
  return {
    granted: decision === 'grant',
    rule: rule?.name ?? 'default',
    reason: rule?.reason ?? (rule ? `rule "${rule.name}"` : 'the default of the policy'),
  };
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

function matches(rule: Rule, request: GrantRequest): boolean {
  if (rule.resourceCalls) return false;
  const operation = OperationType[request.operation] ?? '';
  if (rule.operations && !rule.operations.includes(operation)) return false;
  if (rule.vnfdIds && !rule.vnfdIds.includes(request.vnfdId)) return false;
  if (rule.vnfInstanceIds && !rule.vnfInstanceIds.includes(request.vnfInstanceId)) return false;
  const { expectedBytesAbove } = rule;
  if (expectedBytesAbove === undefined) return true;
  return request.expectedBytes !== undefined && request.expectedBytes > BigInt(expectedBytesAbove);
}

const ruleKeys: readonly string[] = [
  'name',
  'operations',
  'vnfdIds',
  'vnfInstanceIds',
  'expectedBytesAbove',
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
  decision(rule.decision, `${path}.decision`);
  if (rule.resourceCalls !== undefined) checkResourceRule(rule as Rule, path);
  return rule as Rule;
}

/** Who could not look, let go or give back would leave guests held and resources lost. */
const neverRefused = /^(Query|Release|Unquiesce|Terminate|Delete|Close)/;

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
  for (const key of ['vnfdIds', 'expectedBytesAbove'] as const) {
    if (rule[key] !== undefined) throw invalid(`${path}.${key}`, 'is not known of resource calls');
  }
}

function object(value: unknown, path: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(path, 'must be an object');
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown) throw invalid(`${path}.${unknown}`, `is not known; known: ${keys.join(', ')}`);
  return value as Record<string, unknown>;
}

function decision(value: unknown, path: string): 'grant' | 'refuse' {
  if (value === 'grant' || value === 'refuse') return value;
  throw invalid(path, 'must be "grant" or "refuse"');
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function invalid(path: string, text: string) {
  return invalidArgument('CONFIG_INVALID', `nfvo.${path}: ${text}`, { path: `nfvo.${path}` });
}
