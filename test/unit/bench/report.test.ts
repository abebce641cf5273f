import test from 'ava';
import { markdown, shortTable } from '../../../bench/report/markdown.ts';
import { beginMark, betweenMarks, endMark } from '../../../bench/report/readme.ts';
import { svg } from '../../../bench/report/svg.ts';
import { Code } from '../../../sdk/errors.ts';
import { caseOf, contender, reportOf } from '../../support/bench/a-report.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const report = reportOf([
  caseOf('full', [contender('mano', [1, 2, 1.5]), contender('lz4', [3, 4, 3], 2_000_000)]),
]);

test('markdown: a line a contender with median, spread, ratios and bytes', (t) => {
  const line = markdown(report)
    .split('\n')
    .find((text) => text.includes('`lz4`'));
  t.is(
    line,
    '| `lz4` <title> | 3.00 (3.00..4.00) | 0.30 (0.30..0.40) | 100 | 2.00 | 2.00 (2.00..3.00) | 2.00 (2.00..3.00) | 3 |',
  );
});

test('markdown: names machine, commit, versions, what is left out, and every goal', (t) => {
  const text = markdown(report);
  for (const part of ['a processor', 'abc123', 'lz4 1.9.4', 'casync: not installed']) {
    t.true(text.includes(part), part);
  }
  for (const goal of report.goals) t.true(text.includes(goal.text), goal.text);
});

test('markdown: kernels have their rates, and ratios when they come with some', (t) => {
  const line = { group: 'compress', median: 641.2, min: 600, max: 700 };
  const figures = [{ ...line, name: 'LZ4' }];
  const ratio = { ...line, corpus: 'disk', ours: 'LZ4', peer: 'native', median: 1.234 };
  const text = markdown({ ...report, kernels: { figures, ratios: [ratio] } });
  t.true(text.includes('| compress | LZ4 | 641 (600..700) |'), text);
  t.true(text.includes('| disk | compress | LZ4 by native | 1.23 ('), text);
});

test('shortTable: one line a case', (t) => {
  const lines = shortTable(report)
    .split('\n')
    .filter((line) => line.startsWith('| Case'));
  t.is(lines.length, 1);
  t.true(lines[0]!.includes('`lz4` <title> 2.00×'));
});

test('svg: is well-formed, with one bar a contender', (t) => {
  const text = svg(report);
  t.true(text.includes('lz4 &lt;title&gt;'));
  t.is(text.match(/<rect [^>]*fill="#(2166ac|b8b8b8)"/g)?.length, 2);
  t.is(text.match(/<text /g)?.length, text.match(/<\/text>/g)?.length);
  t.false(text.includes('NaN'));
});

test('betweenMarks: replaces what is between the marks and nothing else', (t) => {
  const page = `before\n${beginMark}\nold\n${endMark}\nafter\n`;
  const next = betweenMarks(page, 'new');
  t.is(next, `before\n${beginMark}\nnew\n${endMark}\nafter\n`);
  t.is(betweenMarks(next, 'new'), next);
});

test('betweenMarks: a page without marks is refused', async (t) => {
  await throwsRpc(t, async () => betweenMarks('no marks', 'new'), {
    code: Code.FAILED_PRECONDITION,
    reason: 'README_MARKS',
  });
});
