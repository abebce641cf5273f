import { invalidArgument } from '../../../sdk/errors.ts';
import type { Use } from '../usage.ts';

const prefix = 'stream:';
const idPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

/** True for a location that is an archive which its owner uploads or downloads. */
export function isArchive(location: string): boolean {
  return location.startsWith(prefix);
}

/** The id in "stream:<id>". INVALID_ARGUMENT with reason LOCATION_INVALID. */
export function archiveId(location: string): string {
  const id = location.slice(prefix.length);
  if (idPattern.test(id)) return id;
  const why = 'the id after "stream:" must be 1 to 128 letters, digits, "-" and "_"';
  throw invalidArgument('LOCATION_INVALID', `location "${location}": ${why}`, { location }, [
    { field: 'location', description: why },
  ]);
}

/** An operation has its archive alone. */
export function archiveUses(location: string): Use[] {
  return isArchive(location)
    ? [{ kind: 'archive', id: archiveId(location), mode: 'exclusive' }]
    : [];
}
