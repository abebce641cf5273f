import { invalidArgument, notFound } from '../sdk/errors.ts';

export type Kind = {
  /** For people, for example "VNF snapshot". */
  name: string;
  /** The attribute that holds the name, as a filter spells it. */
  nameAttribute: string;
  /** The reason of the error when there is none, for example "SNAPSHOT_UNKNOWN". */
  unknown: string;
  /** The command that lists them. */
  list: string;
};

/**
 * Finds one thing by its id, else by a name that only it has.
 *
 * @throws RpcError NOT_FOUND with the reason of the kind; INVALID_ARGUMENT, NAME_AMBIGUOUS: several have
 *   the name.
 */
export async function findOne<T extends { id: string }>(
  kind: Kind,
  idOrName: string,
  query: (filter: string) => Promise<T[]>,
): Promise<T> {
  const value = idOrName.replaceAll("'", "''");
  for (const attribute of ['id', kind.nameAttribute]) {
    const found = await query(`(eq,${attribute},'${value}')`);
    if (found.length === 1) return found[0]!;
    if (found.length > 1) throw ambiguous(kind, idOrName, found);
  }
  const text = `there is no ${kind.name} with the id or name "${idOrName}"; see: ${kind.list}`;
  throw notFound(kind.unknown, text, { value: idOrName });
}

function ambiguous(kind: Kind, name: string, found: readonly { id: string }[]) {
  const ids = found.map(({ id }) => id).join(', ');
  const text = `several have the name "${name}": name the ${kind.name} by its id: ${ids}`;
  return invalidArgument('NAME_AMBIGUOUS', text, { name, ids });
}
