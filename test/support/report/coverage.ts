/**
 * Puts the rows of the report beside what carries them out: RPCs from the options in the protos, code from its
 * comments or from the hand-written table, tests from the tags in their titles.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createFileRegistry, fromBinary, getOption } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { spec } from '../../../gen/nfv/meta/v1/meta_pb.js';
import { sections } from './rows.ts';
import { procedures, type ReportStep } from './steps.ts';

export type CoveredRow = {
  id: string;
  what: string;
  rpcs: string[];
  code: string[];
  tests: string[];
  drivers: string;
};

export type CoveredSection = { title: string; rows: CoveredRow[] };

export type Coverage = {
  sections: CoveredSection[];
  /** Rows that options or titles name and the report does not have: "<where>: <id>". */
  unknown: string[];
};

const root = join(import.meta.dirname, '../../..');

type Index = Map<string, Set<string>>;

function add(index: Index, id: string, value: string): void {
  index.set(id, (index.get(id) ?? new Set()).add(value));
}

function sources(pattern: string): { path: string; text: string }[] {
  return globSync(pattern, { cwd: root })
    .sort()
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
}

/** The RPCs whose options name a row. */
function rpcsOfRows(): Index {
  const index: Index = new Map();
  const bytes = readFileSync(join(root, 'gen/descriptors.binpb'));
  for (const type of createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes))) {
    if (type.kind !== 'service') continue;
    for (const method of type.methods) {
      const rows = getOption(method, spec).flatMap((source) => source.rows);
      for (const id of rows) add(index, id, `${type.name}.${method.name}`);
    }
  }
  return index;
}

/** The files that say which step they carry out: "6.4.1 steps 17 and 21" in a comment, or clause and number in a step. */
function codeOfRows(): Index {
  const index: Index = new Map();
  for (const { path, text } of sources('plugins/**/*.ts')) {
    const spoken = text.matchAll(/\b(\d\.\d\.\d) steps? (\d+(?:-\d+)?(?:(?:, | and )\d+)*)/g);
    const planned = text.matchAll(/clause: '([\d.]+)',\s+clauseStep: '([\d, -]+)'/g);
    for (const [, clause, numbers] of [...spoken, ...planned]) {
      for (const number of numbers!.split(/, | and /)) add(index, `${clause}/${number}`, path);
    }
  }
  return index;
}

const tag = /\[((?:[A-Za-z\d.-]+(?:\/[\w-]+)?)(?: [A-Za-z\d.-]+(?:\/[\w-]+)?)*)\]/g;
const looksLikeRow =
  /^(capture\/|\d\.\d[\d.-]*\/|Vnfsd\.|Nfvo\.|Vnfm\.|Vim\.|Nfvi\.|[A-Z][\w-]+\.\d{3}$)/;

/** The test files whose titles name a row: "…: it is thawed [6.4.1/26]". */
function testsOfRows(): Index {
  const index: Index = new Map();
  for (const { path, text } of sources(
    'test/{unit,property,integration,fault,conformance}/**/*.ts',
  )) {
    for (const [, ids] of text.matchAll(tag)) {
      for (const id of ids!.split(' ')) if (looksLikeRow.test(id)) add(index, id, path);
    }
  }
  return index;
}

/** What another block than the VNFM does in a procedure, and how a procedure is asked for and answered. */
function codeBeside({ from, to }: ReportStep, clause: string): string {
  if (from === 'nfvo') return 'plugins/nfvo/granting.ts';
  if (from === 'vim') return 'plugins/vim/vnfc-package.ts';
  if (from === 'vnf') return 'app/demo/vnf-agent.ts';
  if (to === 'nfvo') return 'plugins/vnfm/procedures/grant.ts';
  if (to === 'sender') return 'sdk/operations/service.ts';
  if (from !== 'sender') return '';
  if (!clause.startsWith('6.7')) return 'plugins/vnfm/services/snapshot-operations.ts';
  const transfers = clause === '6.7.3' || clause === '6.7.4';
  return `plugins/vnfm/services/${transfers ? 'package-transfers' : 'packages'}.ts`;
}

const directOf: Readonly<Record<string, string>> = {
  ...{ '6.4.2': '6.4.1', '6.4.4': '6.4.3', '6.6.2': '6.6.1', '6.6.4': '6.6.3' },
};

/** The same step, in the same place of the order, in direct mode. */
function directStep(clause: string, at: number): string {
  const direct = directOf[clause];
  return direct ? `${direct}/${procedures[direct]!.steps[at]!.number}` : '';
}

export function coverage(): Coverage {
  const rpcs = rpcsOfRows();
  const code = codeOfRows();
  const tests = testsOfRows();
  const of = (index: Index, id: string) => [...(index.get(id) ?? [])].sort();
  const covered = (row: { id: string; what: string; drivers?: string }, files: string[]) => ({
    ...{ id: row.id, what: row.what, drivers: row.drivers ?? '' },
    ...{ rpcs: of(rpcs, row.id), code: files, tests: of(tests, row.id) },
  });
  const fromTable = sections.map(({ title, rows }) => ({
    title,
    rows: rows.map((row) => covered(row, row.code ? [row.code] : [])),
  }));
  const fromSteps = Object.entries(procedures).map(([clause, { title, steps }]) => ({
    title: `Clause ${clause}: ${title}`,
    rows: steps.map((step, at) => {
      const id = `${clause}/${step.number}`;
      const own = [...of(code, id), ...of(code, directStep(clause, at))];
      const beside = codeBeside(step, clause);
      const files = own.length > 0 ? own : beside ? [beside] : [];
      const path = [...new Set([step.from, step.via, step.to])].filter(Boolean).join(' → ');
      const may = step.optional ? ' (optional)' : '';
      const what = `${path}: ${step.what}${may}`;
      return covered({ id, what }, [...new Set(files)]);
    }),
  }));
  const all = [...fromSteps, ...fromTable];
  const known = new Set(all.flatMap(({ rows }) => rows.map(({ id }) => id)));
  const strange = (index: Index) =>
    [...index].filter(([id]) => !known.has(id)).map(([id, where]) => `${[...where][0]}: ${id}`);
  return { sections: all, unknown: [...strange(rpcs), ...strange(tests)] };
}

/** Rows that no test shows yet, in the order of the page. */
export function openRows({ sections: all }: Coverage): string[] {
  return all
    .flatMap(({ rows }) => rows.filter(({ tests }) => tests.length === 0))
    .map(({ id }) => id);
}

/** The page docs/coverage/tst005.md. */
export function page(found: Coverage): string {
  const total = found.sections.reduce((sum, { rows }) => sum + rows.length, 0);
  const open = openRows(found);
  const head = [
    '# GR NFV-TST 005 V1.1.1, row by row',
    '',
    'Each step of a procedure, line of a table, role and recommendation of the report, with the RPC that offers it, the file to begin',
    'reading in, and the tests that show it. Generated by `npm run coverage` from the options in `proto/`, the comments in the code, the titles',
    'of the tests and the hand-written tables in `test/support/report/`; a test fails when the page is not current.',
    '',
    'The last section is the capture procedure of 3GPP TR 32.842.',
    '',
    `**${total - open.length} of ${total} rows have a test.**${open.length > 0 ? ' The others are open; they say so.' : ''}`,
    '',
  ];
  return [...head, ...found.sections.flatMap(sectionLines)].join('\n');
}

function sectionLines({ title, rows }: CoveredSection): string[] {
  const lines = rows.map(({ id, what, rpcs, code, tests, drivers }) => {
    const words = drivers ? `${what} (only ${drivers})` : what;
    return `| ${[id, words, list(rpcs), list(code), tests.length > 0 ? list(tests) : '**open**'].join(' | ')} |`;
  });
  return [
    `## ${title}`,
    '',
    '| row | what | RPC | code | tests |',
    '| --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ];
}

function list(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join('<br>');
}
