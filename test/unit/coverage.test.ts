import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { coverage, openRows, page } from '../support/report/coverage.ts';
import { procedures } from '../support/report/steps.ts';

const root = join(import.meta.dirname, '../..');
const found = coverage();
const rows = found.sections.flatMap((section) => section.rows);

test('coverage: every row of the report has a test', (t) => {
  t.deepEqual(openRows(found), []);
});

test('coverage: options of RPCs and titles of tests name only rows that the report has', (t) => {
  t.deepEqual(found.unknown, []);
});

test('coverage: every row stands once, and the code that it names is there', (t) => {
  const ids = rows.map(({ id }) => id);
  t.is(new Set(ids).size, ids.length);
  const gone = rows.flatMap(({ code }) => code).filter((path) => !existsSync(join(root, path)));
  t.deepEqual(gone, []);
});

test('coverage: the page is current (npm run coverage)', (t) => {
  t.is(readFileSync(join(root, 'docs/coverage/tst005.md'), 'utf8'), page(found));
});

test('coverage: direct and indirect mode have the same steps in the same order', (t) => {
  const told = (clause: string) => procedures[clause]!.steps.map(({ what }) => what);
  for (const [direct, indirect] of [
    ['6.4.1', '6.4.2'],
    ['6.4.3', '6.4.4'],
    ['6.6.1', '6.6.2'],
    ['6.6.3', '6.6.4'],
  ]) {
    t.deepEqual(told(indirect!), told(direct!));
  }
});
