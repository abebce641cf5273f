import type { FieldViolation } from '../../../sdk/errors.ts';

/** A violation for each item that has the name of an earlier one. */
export function duplicates<T>(
  items: readonly T[],
  nameOf: (item: T) => string,
  pathOf: (index: number) => string,
): FieldViolation[] {
  const first = new Map<string, number>();
  return items.flatMap((item, index) => {
    const name = nameOf(item);
    const before = first.get(name);
    if (before === undefined) {
      first.set(name, index);
      return [];
    }
    return [
      { field: pathOf(index), description: `"${name}" is given at ${pathOf(before)} already` },
    ];
  });
}

/** A violation for each name that is not among the known ones. */
export function unresolved(
  names: readonly string[],
  known: ReadonlySet<string>,
  what: string,
  pathOf: (index: number) => string,
): FieldViolation[] {
  return names.flatMap((name, index) => {
    if (known.has(name)) return [];
    const choice = known.size > 0 ? `; there are: ${[...known].join(', ')}` : '; there are none';
    return [{ field: pathOf(index), description: `"${name}" is no ${what}${choice}` }];
  });
}
