import type { GetPluginInfoResponse } from '../../gen/nfv/plugin/v1/plugin_service_pb.js';
import { failedPrecondition, type RpcError } from '../../sdk/errors.ts';

/** A range of versions of nfv.plugin, both ends included. */
export type VersionRange = { min: number; max: number };

/** The versions that this kernel speaks. */
export const kernelApiVersions: VersionRange = { min: 1, max: 1 };
/** The version of the line that a started plugin prints. */
const lineVersion = '1';

/**
 * The highest version in both ranges.
 *
 * @throws RpcError FAILED_PRECONDITION API_VERSION_MISMATCH, with a sentence for people.
 */
export function negotiate(instanceId: string, kernel: VersionRange, plugin: VersionRange): number {
  const version = Math.min(kernel.max, plugin.max);
  if (plugin.min <= plugin.max && version >= Math.max(kernel.min, plugin.min)) return version;
  const advice = plugin.min > kernel.max ? 'update the kernel' : 'update the plugin';
  const text =
    `the kernel speaks nfv.plugin ${range(kernel)}, ` +
    `the plugin ${instanceId} speaks ${range(plugin)}: ${advice}`;
  throw failedPrecondition('API_VERSION_MISMATCH', text, {
    instance_id: instanceId,
    kernel: range(kernel),
    plugin: range(plugin),
  });
}

function range({ min, max }: VersionRange): string {
  return min === max ? String(min) : `${min} to ${max}`;
}

/**
 * The address in the line "1|API|unix|PATH|grpc" that a started plugin prints.
 *
 * @throws RpcError FAILED_PRECONDITION HANDSHAKE_INVALID or API_VERSION_MISMATCH.
 */
export function parseHandshakeLine(instanceId: string, line: string): string {
  const parts = line.trim().split('|');
  const [version, api, network, path, protocol] = parts;
  const shown = JSON.stringify(line.slice(0, 200));
  if (parts.length !== 5 || !api || !path) {
    throw invalid(
      instanceId,
      `its first line must be HANDSHAKE|API|NETWORK|ADDRESS|PROTOCOL, not ${shown}`,
    );
  }
  if (version !== lineVersion) {
    throw invalid(
      instanceId,
      `it speaks version ${version} of the handshake line, the kernel ${lineVersion}`,
    );
  }
  if (network !== 'unix' || protocol !== 'grpc' || !path.startsWith('/')) {
    throw invalid(instanceId, `it must offer grpc on an absolute unix path, not ${shown}`);
  }
  const apiMax = Number(api);
  negotiate(instanceId, kernelApiVersions, {
    min: Math.min(apiMax, kernelApiVersions.min),
    max: apiMax,
  });
  return `unix:${path}`;
}

/** Checks that the plugin is the one that was expected. */
export function assertExpected(
  info: GetPluginInfoResponse,
  expected: { instanceId: string; role: string },
): void {
  if (info.role !== expected.role) {
    throw invalid(
      expected.instanceId,
      `it says its role is "${info.role}", expected "${expected.role}"`,
    );
  }
  if (info.instanceId !== expected.instanceId) {
    throw invalid(expected.instanceId, `it says its instance id is "${info.instanceId}"`);
  }
}

function invalid(instanceId: string, problem: string): RpcError {
  return failedPrecondition(
    'HANDSHAKE_INVALID',
    `the plugin ${instanceId} is refused: ${problem}`,
    {
      instance_id: instanceId,
    },
  );
}
