import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { parseFilter } from '../../../sdk/filter.ts';
import { paginate } from '../../../sdk/pagination.ts';
import {
  type CollectionDefinition,
  type RecordStore,
  recordPageMax,
} from '../../../sdk/records/record-store.ts';
import { compileSelectors } from '../../../sdk/selectors.ts';

/** The parameters that all queries have. */
export type Query = {
  filter: string;
  allFields: boolean;
  fields: string[];
  excludeFields: string[];
  pageSize: number;
  pageToken: string;
};

type Record = { id: string };

/** All records of a collection, newest first, with their etags where they have a place for them. */
export async function readAll<T extends Record & { etag?: string }>(
  store: RecordStore,
  collection: CollectionDefinition<T>,
): Promise<T[]> {
  const found: T[] = [];
  let after: string | undefined;
  do {
    const page = await store.collection(collection).list({
      order: 'newest',
      limit: recordPageMax,
      ...(after !== undefined && { after }),
    });
    for (const { value, etag } of page.records) {
      if ('etag' in value) value.etag = etag;
      found.push(value);
    }
    after = page.next;
  } while (after !== undefined);
  return found;
}

/** Filter, page and selectors over records that were read. */
export function select<Desc extends DescMessage>(
  schema: Desc,
  records: readonly (MessageShape<Desc> & Record)[],
  query: Query,
  excludedByDefault: readonly string[],
): { items: MessageShape<Desc>[]; nextPageToken: string } {
  const matches = parseFilter(schema, query.filter);
  const shorten = compileSelectors(schema, query, excludedByDefault);
  const { items, nextPageToken } = paginate(
    records.filter((record) => matches(record)),
    {
      pageSize: query.pageSize,
      pageToken: query.pageToken,
      query: [schema.typeName, query.filter],
      key: (record) => record.id,
    },
  );
  return { items: items.map((item) => shorten(item)), nextPageToken };
}
