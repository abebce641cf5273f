/** A further instance of a built-in driver: a host of its own. */
export type Host = {
  /** The plugin instance, and the name of the host in requests. */
  name: string;
  /** The kind of driver, for example "qemu". */
  kind: string;
  /** The driver's own settings; absent: those of its kind. */
  config?: Record<string, unknown>;
};

type Refuse = (path: string, text: string) => Error;

const known = ['name', 'kind', 'config'];
const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/;

/** Checks the list "hosts" of a configuration. Throws what `refuse` makes, with the path of the field. */
export function checkHosts(value: unknown, kinds: readonly string[], refuse: Refuse): void {
  if (!Array.isArray(value)) throw refuse('hosts', 'must be a list');
  const taken = new Set(kinds);
  value.forEach((item, index) => {
    const path = `hosts[${index}]`;
    if (typeof item !== 'object' || item === null) throw refuse(path, 'must be an object');
    const { name, kind, config } = item as Partial<Host>;
    const unknown = Object.keys(item).find((key) => !known.includes(key));
    if (unknown) throw refuse(`${path}.${unknown}`, `is not known; known: ${known.join(', ')}`);
    if (typeof name !== 'string' || !namePattern.test(name)) {
      throw refuse(`${path}.name`, 'must be 1 to 32 small letters, digits and "-"');
    }
    if (taken.has(name)) throw refuse(`${path}.name`, `"${name}" is another driver's already`);
    taken.add(name);
    if (!kinds.includes(kind ?? ''))
      throw refuse(`${path}.kind`, `must be one of ${kinds.join(', ')}`);
    if (config !== undefined && (typeof config !== 'object' || config === null)) {
      throw refuse(`${path}.config`, 'must be an object');
    }
  });
}
