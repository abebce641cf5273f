import { failedPrecondition } from '../../sdk/errors.ts';
import { jsonCollection, type Transaction } from '../../sdk/records/record-store.ts';

/**
 * A VNF instance, a snapshot, a package or an archive that an operation needs, alone or together with other
 * readers.
 */
export type Use = {
  kind: 'vnf' | 'snapshot' | 'package' | 'archive';
  id: string;
  mode: 'exclusive' | 'shared';
};

type Users = { exclusive: string; shared: string[] };

const usages = jsonCollection<Users>('usages');
/** Operations that may read one thing at a time. */
const sharedMax = 64;

/**
 * Takes what an operation needs, all or nothing, in the transaction that accepts it.
 * FAILED_PRECONDITION with reason OPERATION_IN_PROGRESS (SNAPSHOT_IN_USE for a snapshot that others
 * read) and the id of the operation that has it.
 */
export async function acquire(
  tx: Transaction,
  uses: readonly Use[],
  operationId: string,
): Promise<void> {
  for (const use of uses) {
    const users = await read(tx, use);
    const blocker = blocking(use, users);
    if (blocker !== undefined) throw inUse(use, users, blocker);
    const taken: Users =
      use.mode === 'exclusive'
        ? { exclusive: operationId, shared: [] }
        : { exclusive: '', shared: [...users.shared, operationId] };
    await tx.collection(usages).put(key(use), taken);
  }
}

/** Gives back what an operation has. Giving back what it does not have does nothing. */
export async function giveBack(
  tx: Transaction,
  uses: readonly Use[],
  operationId: string,
): Promise<void> {
  for (const use of uses) {
    const users = await read(tx, use);
    const left: Users = {
      exclusive: users.exclusive === operationId ? '' : users.exclusive,
      shared: users.shared.filter((user) => user !== operationId),
    };
    if (left.exclusive === '' && left.shared.length === 0)
      await tx.collection(usages).delete(key(use));
    else await tx.collection(usages).put(key(use), left);
  }
}

/** Fails as `acquire` would, without taking anything. */
export async function checkFree(tx: Transaction, use: Use): Promise<void> {
  const users = await read(tx, use);
  const blocker = blocking(use, users);
  if (blocker !== undefined) throw inUse(use, users, blocker);
}

function blocking(use: Use, users: Users): string | undefined {
  if (users.exclusive !== '') return users.exclusive;
  if (use.mode === 'exclusive') return users.shared[0];
  return users.shared.length >= sharedMax ? users.shared[0] : undefined;
}

async function read(tx: Transaction, use: Use): Promise<Users> {
  const found = await tx.collection(usages).get(key(use));
  return found?.value ?? { exclusive: '', shared: [] };
}

function key({ kind, id }: Use): string {
  return `${kind}:${id}`;
}

function inUse(use: Use, users: Users, operation: string) {
  const read = use.kind === 'snapshot' && users.exclusive === '';
  const reason = read ? 'SNAPSHOT_IN_USE' : 'OPERATION_IN_PROGRESS';
  const text = `operation ${operation} is going on with ${use.kind} "${use.id}"; wait for it, or cancel it`;
  return failedPrecondition(reason, text, { operation_id: operation, [use.kind]: use.id });
}
