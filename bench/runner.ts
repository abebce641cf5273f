/** Runs cases: rounds in which everybody has a turn, each result restored and compared. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Code, RpcError } from '../sdk/errors.ts';
import { measureScript, runScript } from './measure.ts';
import { ratios, summaries } from './statistics.ts';
import type { Case, CaseResult, Contender, Figures, LeftOut, Place, Run } from './types.ts';

const execute = promisify(execFile);
/** Above this size `cmp` reads zeros for longer than all that is measured. */
const cmpBytesMax = 8 * 1024 ** 3;
/** What tools keep beside what they store, and what is there only for the round. */
const notStored = new Set(['cache', 'borg', 'log', 'source', 'back', 'overlay', 'lost+found']);

export type RunnerOptions = {
  /** Empty folder for everything; on the file system whose speed counts. */
  folder: string;
  rounds: number;
  /** What all scripts find in their environment. */
  variables: Record<string, string>;
  /** Why a need of a contender is not met, by need. */
  missing: ReadonlyMap<string, string>;
  hasQemuImg: boolean;
  print(line: string): void;
  signal: AbortSignal;
};

export class Runner {
  readonly #options: RunnerOptions;
  /** Bases that are made, by key. */
  readonly #bases = new Set<string>();

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Runs all rounds of a case. BENCH_RESULT_WRONG when a restored file differs. */
  async run(item: Case): Promise<CaseResult> {
    const { missing, print, rounds } = this.#options;
    const leftOut: LeftOut[] = [];
    const contenders = item.contenders.filter(({ id, title, needs }) => {
      const reasons = needs.flatMap((need) =>
        missing.has(need) ? `${need}: ${missing.get(need)}` : [],
      );
      if (reasons.length > 0) leftOut.push({ id, title, reason: reasons.join('; ') });
      return reasons.length === 0;
    });
    print(`${item.title} (${contenders.map(({ id }) => id).join(', ')})`);
    for (const path of item.reads) await readThrough(path);
    const runs = new Map(contenders.map(({ id }) => [id, [] as Run[]]));
    for (let round = 0; round < rounds; round++) {
      for (const contender of shuffled(contenders, round)) {
        if (round >= (contender.roundsMax ?? rounds)) continue;
        const run = { round, ...(await this.#turn(item, contender)) };
        runs.get(contender.id)!.push(run);
        print(`  ${round + 1}/${rounds} ${contender.id}: ${run.wallSeconds.toFixed(3)} s`);
      }
    }
    return toResult(item, contenders, runs, leftOut);
  }

  async #turn(item: Case, contender: Contender): Promise<Omit<Run, 'round'>> {
    const { variables, signal } = this.#options;
    const folder = await this.#folder(item, contender);
    const place: Place = { folder, variables: { ...variables, ...item.variables } };
    const { prepare } = contender;
    try {
      if (typeof prepare === 'string') await runScript(prepare, place, signal);
      else await prepare?.(place);
      const before = await storedBytes(folder);
      // What was written before shall not be written while somebody is measured.
      await execute('sync', ['-f', folder], { signal });
      const figures = await this.#measured(contender, place);
      await contender.end?.();
      const stored = (await storedBytes(folder)) - before;
      await this.#check(contender, place);
      return { ...figures, storedBytes: Math.max(0, stored) };
    } finally {
      await contender.end?.();
      const gone = contender.readsBase ? join(folder, 'back') : folder;
      await rm(gone, { recursive: true, force: true });
    }
  }

  async #measured({ run }: Contender, place: Place): Promise<Figures> {
    if (typeof run === 'string') return await measureScript(run, place, this.#options.signal);
    return await run(place);
  }

  /** The folder of a round: empty, or what the base has. */
  async #folder(item: Case, contender: Contender): Promise<string> {
    const work = join(this.#options.folder, 'work');
    const { base } = contender;
    await rm(work, { recursive: true, force: true });
    if (base === undefined) {
      await mkdir(work, { recursive: true });
      return work;
    }
    const kept = join(this.#options.folder, 'bases', base.key);
    if (!this.#bases.has(base.key)) {
      await mkdir(kept, { recursive: true });
      const variables = { ...this.#options.variables, ...item.variables };
      await runScript(base.script, { folder: kept, variables }, this.#options.signal);
      this.#bases.add(base.key);
    }
    if (contender.readsBase) return kept;
    await execute('cp', ['-a', '--reflink=auto', kept, work], { signal: this.#options.signal });
    return work;
  }

  async #check({ id, unpack, compare }: Contender, place: Place): Promise<void> {
    if (unpack !== undefined) await runScript(unpack, place, this.#options.signal);
    if (compare === undefined) return;
    const restored = join(place.folder, compare.restored);
    if (await this.#isSame(restored, compare.original)) return;
    const text = `${id} did not restore the bytes of ${compare.original}`;
    throw new RpcError(Code.DATA_LOSS, 'BENCH_RESULT_WRONG', text, { contender: id });
  }

  async #isSame(a: string, b: string): Promise<boolean> {
    const { size } = await stat(b);
    if ((await stat(a)).size !== size) return false;
    // Knows holes, and is not ours.
    const byQemu = size > cmpBytesMax && this.#options.hasQemuImg;
    const [program, ...rest] = byQemu
      ? ['qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'raw', a, b]
      : ['cmp', '-s', a, b];
    try {
      await execute(program!, rest, { signal: this.#options.signal });
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === 1) return false;
      throw error;
    }
  }
}

/**
 * The contenders in the order of a round: another one each time, the same in every run. Whoever came
 * after the same neighbour in all rounds would be measured with what that one leaves behind.
 */
function shuffled(contenders: readonly Contender[], round: number): Contender[] {
  const rank = ({ id }: Contender) => createHash('sha256').update(`${round} ${id}`).digest('hex');
  return contenders.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

function toResult(
  { id, title, stores }: Case,
  contenders: readonly Contender[],
  runs: ReadonlyMap<string, Run[]>,
  leftOut: LeftOut[],
): CaseResult {
  const ours = contenders.find(({ isOurs }) => isOurs);
  const results = contenders.map((contender) => {
    const own = runs.get(contender.id)!;
    const ratio = ours === undefined ? {} : ratios(own, runs.get(ours.id)!);
    const { id: name, title: shown, isOurs } = contender;
    return { id: name, title: shown, isOurs, runs: own, summary: summaries(own), ratio };
  });
  return { id, title, ...(stores !== undefined && { stores }), contenders: results, leftOut };
}

/** Bytes of the files that a package consists of. */
export async function storedBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (notStored.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await storedBytes(path);
    else if (entry.isFile()) bytes += (await lstat(path)).size;
  }
  return bytes;
}

/** Brings a file into the page cache, as far as it fits; of a sparse one that is nothing. */
async function readThrough(path: string): Promise<void> {
  const { size, blocks } = await stat(path);
  if (size > cmpBytesMax && blocks * 512 < size / 4) return;
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  await pipeline(createReadStream(path, { highWaterMark: 4 * 1024 * 1024 }), nowhere);
}
