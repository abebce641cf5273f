/** `repository.config`: what makes a folder a repository; docs/storage-format.md 2.2. */
import { failedPrecondition, isRpcError, notFound } from '../../../sdk/errors.ts';
import type { Backend } from './backend.ts';
import { objectDamaged } from './faults.ts';
import { formatFramed, parseFramed } from './framed-text.ts';
import { Lease, type LeaseContext } from './lease.ts';
import { blockSize, framedTextBytesMax, pageFanOut } from './limits.ts';
import { configName } from './object-names.ts';

const parameters = { blockSize, pageFanOut, hash: 'blake3-256' };

/** True when the repository was made. */
export async function hasConfiguration(backend: Backend): Promise<boolean> {
  return (await backend.size(configName)) !== undefined;
}

/** Publishes a configuration unless one is there. */
export async function createConfiguration(context: LeaseContext): Promise<void> {
  const lease = await Lease.take(context, 'write');
  try {
    const staged = await lease.area.stage('configuration');
    const repositoryId = context.random.uuid();
    const createdAt = context.clock.now().toISOString();
    await staged.append([formatFramed('repository', { repositoryId, createdAt, ...parameters })]);
    await staged.finish();
    await lease.area.publish([{ staged, name: configName }]);
  } catch (error) {
    // Two may create it at once: either's configuration is as good.
    if (!isRpcError(error, 'OBJECT_EXISTS')) throw error;
  } finally {
    await lease.release();
  }
}

/** Reads and checks the configuration. Returns the repository's id. */
export async function checkConfiguration(backend: Backend): Promise<string> {
  const path = backend.path(configName);
  const bytes = await backend.readAll(configName, framedTextBytesMax);
  if (bytes === undefined) {
    const text = `${path} does not exist: this is no repository; create one by packing into it`;
    throw notFound('REPOSITORY_NOT_FOUND', text, { path });
  }
  const body = parseFramed('repository', bytes, path) as Record<string, unknown>;
  for (const [key, value] of Object.entries(parameters)) {
    if (body[key] === value) continue;
    const text = `${path}: ${key} is ${String(body[key])}; this program can only use ${value}`;
    throw failedPrecondition('REPOSITORY_UNSUPPORTED', text, { path, key });
  }
  if (typeof body.repositoryId !== 'string') {
    throw objectDamaged(path, 0, 'has no repositoryId');
  }
  return body.repositoryId;
}
