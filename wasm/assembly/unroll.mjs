// Writes the seven rounds of the compression function out one after another, which AssemblyScript
// has no means to say: each `word(scratch, s, k)` becomes a load at a fixed place. A tenth faster.
// Usage: node unroll.mjs SOURCE TARGET
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';

const [source, target] = process.argv.slice(2);
const text = readFileSync(source, 'utf8');

const table = text.match(/const schedule: usize = memory\.data<u8>\(\[([^\]]*)\]\);/);
const loop = text.match(/ {2}for \(let s: usize = schedule; .*\n([^]*?)\n {2}\}\n/);
assert(table && loop, `${source} has no schedule or no loop over it`);
const schedule = table[1].split(',').map(Number).slice(0, 7 * 16);

const rounds = Array.from({ length: 7 }, (_, round) =>
  loop[1].replaceAll(/word\(scratch, s, (\d+)\)/g, (_, k) => {
    return `v128.load(scratch, ${schedule[round * 16 + Number(k)]})`;
  }),
);
writeFileSync(target, text.replace(loop[0], `${rounds.join('\n')}\n`));
