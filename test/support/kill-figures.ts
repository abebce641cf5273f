/**
 * Counts what kill tests try, over all their processes: each line of the file that
 * NFV_KILL_FIGURES names is one kill. `node test/support/kill-figures.ts FILE` sums them up.
 */
import { appendFileSync, readFileSync } from 'node:fs';

type Kill = { where: string; invariants: number; violations: number };

/** One kill and what was looked at after it; `where`: for example "wasmvm revert-to-vnf-snapshot". */
export function noteKill(where: string, invariants: number, violations: number): void {
  const path = process.env.NFV_KILL_FIGURES;
  if (path === undefined) return;
  appendFileSync(path, `${JSON.stringify({ where, invariants, violations } satisfies Kill)}\n`);
}

function sum(kills: readonly Kill[]): string {
  const total = (key: 'invariants' | 'violations') =>
    kills.reduce((all, kill) => all + kill[key], 0);
  return `${kills.length} kills tried, ${total('invariants')} invariants checked, ${total('violations')} violations`;
}

if (import.meta.main) {
  const lines = readFileSync(process.argv[2]!, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  const kills = lines.map((line) => JSON.parse(line) as Kill);
  for (const where of [...new Set(kills.map((kill) => kill.where))].sort()) {
    process.stdout.write(`${where}: ${sum(kills.filter((kill) => kill.where === where))}\n`);
  }
  process.stdout.write(`all: ${sum(kills)}\n`);
  process.exitCode = kills.length > 0 && kills.every(({ violations }) => violations === 0) ? 0 : 1;
}
