// Writes the seven rounds of the compression function out one after another, which AssemblyScript
// has no means to say: then the words of the message need not move from one round to the next.
// Usage: node unroll.mjs SOURCE TARGET
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';

const [source, target] = process.argv.slice(2);
const text = readFileSync(source, 'utf8');
const loop = text.match(/ {2}for \(let round = 0; round < 7; round\+\+\) \{\n([^]*?)\n {2}\}\n/);
assert(loop, `${source} has no loop over seven rounds`);
writeFileSync(target, text.replace(loop[0], `  {\n${loop[1]}\n  }\n`.repeat(7)));
