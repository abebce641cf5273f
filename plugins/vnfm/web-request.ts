/** Requests to the servers of archives, and how their answers are told. */
import { type RpcError, unavailable } from '../../sdk/errors.ts';
import { invalid } from './web-address.ts';

/** Progress of a transfer. */
export type Report = (doneBytes: number, totalBytes: number | undefined, activity: string) => void;

/** UNAVAILABLE with reason TRANSFER_FAILED when nobody answers, or with a redirection. */
export async function request(url: string, init: RequestInit): Promise<Response> {
  try {
    // An address that was allowed must not lead to one that was not.
    return await fetch(url, { ...init, redirect: 'error' });
  } catch (thrown) {
    if (init.signal?.aborted) throw thrown;
    const cause = (thrown as Error).cause;
    throw failed(url, cause instanceof Error ? cause.message : (thrown as Error).message);
  }
}

/** What to throw for an answer that is not the wanted one. */
export async function refused(url: string, response: Response): Promise<RpcError> {
  const text = (await response.text().catch(() => '')).slice(0, 200).trim();
  const said = `it answered ${response.status} ${response.statusText}${text && `: ${text}`}`;
  if (response.status >= 500 || response.status === 429) return failed(url, said);
  return invalid(url, said);
}

export function failed(url: string, why: string): RpcError {
  return unavailable('TRANSFER_FAILED', `${url}: ${why}`, { location: url });
}
