import { createHash, timingSafeEqual } from 'node:crypto';
import { invalidArgument } from './errors.ts';

/** The size of a page when the request names none. */
export const pageSizeDefault = 100;
/** The largest page; larger wishes get this many. */
export const pageSizeMax = 1000;
const digestBytes = 16;
const tokenCharactersMax = 1024;

/** The number of items that a request's `page_size` asks for: 0 means the default. INVALID_ARGUMENT with PAGE_SIZE. */
export function pageSizeOf(requested: number, sizeMax: number = pageSizeMax): number {
  if (!Number.isInteger(requested) || requested < 0) {
    throw invalidArgument('PAGE_SIZE', `page_size ${requested} is not a whole number from 0`, {
      page_size: String(requested),
    });
  }
  return requested === 0 ? Math.min(pageSizeDefault, sizeMax) : Math.min(requested, sizeMax);
}

/**
 * Makes a token for the place where the next page begins. `query` is whatever must not change from page to page (the
 * method and the filter): a token is of no use with another. It grants nothing, so it is checked against
 * mistakes and not against forgery.
 */
export function encodePageToken(query: readonly string[], cursor: string): string {
  const place = Buffer.from(cursor, 'utf8');
  return Buffer.concat([digestOf(query, place), place]).toString('base64url');
}

/**
 * The place that a token names; undefined for the empty token of the first page. INVALID_ARGUMENT with reason
 * PAGE_TOKEN when it was changed, cut, or made for another query: begin again without a token.
 */
export function decodePageToken(query: readonly string[], token: string): string | undefined {
  if (token === '') return undefined;
  const bytes = Buffer.from(token.slice(0, tokenCharactersMax + 1), 'base64url');
  const place = bytes.subarray(digestBytes);
  const intact =
    token.length <= tokenCharactersMax &&
    bytes.toString('base64url') === token &&
    bytes.length >= digestBytes &&
    timingSafeEqual(bytes.subarray(0, digestBytes), digestOf(query, place));
  if (intact) return place.toString('utf8');
  throw invalidArgument(
    'PAGE_TOKEN',
    'page_token is damaged or belongs to another query; begin again without it',
    {},
    [{ field: 'page_token', description: 'does not belong to this query' }],
  );
}

/** What `paginate` needs to know. */
export type PageOptions<T> = {
  readonly pageSize: number;
  readonly pageToken: string;
  /** Whatever must not change from page to page. */
  readonly query: string | readonly string[];
  /** The identity of an item. */
  readonly key: (item: T) => string;
};

/**
 * One page of a list that is in memory, in its order. The next page begins after the last item given, or, when that was
 * removed meanwhile, at its position. Errors of pageSizeOf and decodePageToken.
 */
export function paginate<T>(
  items: readonly T[],
  { pageSize, pageToken, query, key }: PageOptions<T>,
): { items: T[]; nextPageToken: string } {
  const size = pageSizeOf(pageSize);
  const fixed = typeof query === 'string' ? [query] : query;
  const start = startOf(items, decodePageToken(fixed, pageToken), key);
  const page = items.slice(start, start + size);
  const last = page.at(-1);
  if (last === undefined || start + size >= items.length) return { items: page, nextPageToken: '' };
  const cursor = JSON.stringify([start + size, key(last)]);
  return { items: page, nextPageToken: encodePageToken(fixed, cursor) };
}

function startOf<T>(items: readonly T[], cursor: string | undefined, key: (item: T) => string) {
  if (cursor === undefined) return 0;
  const [position, last] = JSON.parse(cursor) as [number, string];
  const at = items.findIndex((item) => key(item) === last);
  return at < 0 ? Math.max(0, position - 1) : at + 1;
}

function digestOf(query: readonly string[], place: Uint8Array): Buffer {
  const hash = createHash('sha256').update(JSON.stringify(query)).update('\0').update(place);
  return hash.digest().subarray(0, digestBytes);
}
