/** Writes docs/coverage/tst005.md anew. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { coverage, openRows, page } from './coverage.ts';

const root = join(import.meta.dirname, '../../..');
const found = coverage();
for (const text of found.unknown) process.stderr.write(`not in the report: ${text}\n`);
mkdirSync(join(root, 'docs/coverage'), { recursive: true });
writeFileSync(join(root, 'docs/coverage/tst005.md'), page(found));
process.stdout.write(`${openRows(found).length} rows are open\n`);
