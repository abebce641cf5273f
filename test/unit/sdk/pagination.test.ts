import test from 'ava';
import { Code } from '../../../sdk/errors.ts';
import { decodePageToken, encodePageToken, pageSizeOf, paginate } from '../../../sdk/pagination.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const bad = { code: Code.INVALID_ARGUMENT, reason: 'PAGE_TOKEN' };

test('pagination: a token gives its place back to the same query only', async (t) => {
  const token = encodePageToken(['List', '(eq,a,b)'], 'ünten');
  t.is(decodePageToken(['List', '(eq,a,b)'], token), 'ünten');
  await throwsRpc(t, () => decodePageToken(['List', ''], token), bad);
  await throwsRpc(t, () => decodePageToken(['List(eq,a,b)'], token), bad);
});

test('pagination: the empty token is the first page', (t) => {
  t.is(decodePageToken(['List'], ''), undefined);
});

test('pagination: a token with any character changed, cut or added is refused', async (t) => {
  const token = encodePageToken(['List'], 'place');
  for (let at = 0; at < token.length; at++) {
    const other = token[at] === 'A' ? 'B' : 'A';
    const changed = token.slice(0, at) + other + token.slice(at + 1);
    await throwsRpc(t, () => decodePageToken(['List'], changed), bad);
    await throwsRpc(t, () => decodePageToken(['List'], token.slice(0, at) || 'A'), bad);
  }
  await throwsRpc(t, () => decodePageToken(['List'], `${token}A`), bad);
  await throwsRpc(t, () => decodePageToken(['List'], 'A'.repeat(5000)), bad);
});

test('pagination: page sizes have a default and a maximum', async (t) => {
  t.is(pageSizeOf(0), 100);
  t.is(pageSizeOf(1), 1);
  t.is(pageSizeOf(5000), 1000);
  t.is(pageSizeOf(0, 10), 10);
  await throwsRpc(t, () => pageSizeOf(-1), { code: Code.INVALID_ARGUMENT, reason: 'PAGE_SIZE' });
});

test('pagination: paginate gives every item once, and goes on when the last one was removed', (t) => {
  const items = ['a', 'b', 'c', 'd', 'e'];
  const options = { pageSize: 2, query: 'q', key: (item: string) => item };
  const first = paginate(items, { ...options, pageToken: '' });
  t.deepEqual(first.items, ['a', 'b']);
  const second = paginate(items, { ...options, pageToken: first.nextPageToken });
  t.deepEqual(second.items, ['c', 'd']);
  const third = paginate(items, { ...options, pageToken: second.nextPageToken });
  t.deepEqual(third, { items: ['e'], nextPageToken: '' });
  const without = paginate(['a', 'c', 'd', 'e'], { ...options, pageToken: first.nextPageToken });
  t.deepEqual(without.items, ['c', 'd']);
});

test('pagination: a list that ends with its page has no next token', (t) => {
  const options = { pageSize: 2, pageToken: '', query: 'q', key: (item: string) => item };
  t.deepEqual(paginate(['a', 'b'], options), { items: ['a', 'b'], nextPageToken: '' });
});
