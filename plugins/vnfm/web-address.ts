/** Which addresses archives may be written to and read from. */
import { invalidArgument, type RpcError } from '../../sdk/errors.ts';

export function isWebAddress(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/**
 * Checks that an archive may be written to or read from an address: one below an allowed prefix.
 * Returns it in its normal form. INVALID_ARGUMENT with reason LOCATION_INVALID.
 */
export function checkAddress(location: string, allowed: readonly string[]): string {
  let url: URL;
  try {
    url = new URL(location);
  } catch {
    throw invalid(location, 'is not an address');
  }
  if (url.username !== '' || url.password !== '') throw invalid(location, 'must hold no password');
  if (url.pathname.endsWith('/')) throw invalid(location, 'must name a file');
  if (/%2e|%2f|%5c/i.test(url.pathname))
    throw invalid(location, 'must not hide "." or "/" in its path');
  if (allowed.some((prefix) => url.href.startsWith(prefix))) return url.href;
  if (allowed.length === 0)
    throw invalid(location, 'the VNFM has no addresses for archives; configure packageAddresses');
  throw invalid(location, `is not below one of the VNFM's addresses: ${allowed.join(', ')}`);
}

/** INVALID_ARGUMENT with reason LOCATION_INVALID. */
export function invalid(location: string, why: string): RpcError {
  return invalidArgument('LOCATION_INVALID', `location "${location}": ${why}`, { location }, [
    { field: 'location', description: why },
  ]);
}
