// Timing by the rule of `lz4 -b`, so that its figures and ours mean the same.

/** Work that is repeated; `bytes` are the plain bytes of one pass. */
export type Case = { group: string; name: string; bytes: number; run(): void };

/** MB/s over rounds. */
export type Figure = { corpus: string; group: string; name: string } & Spread;
/** Paired: how many times faster `ours` is than `peer`, in the same round or process. */
export type Ratio = { corpus: string; group: string; ours: string; peer: string } & Spread;
export type Spread = { median: number; min: number; max: number };

/** MB/s: the better of one pass alone and the mean of passes that take `seconds` together. */
export function rate({ bytes, run }: Case, seconds: number): number {
  const time = (passes: number) => {
    const from = performance.now();
    for (let i = 0; i < passes; i++) run();
    return (performance.now() - from) / 1000 / passes;
  };
  const alone = time(1);
  const mean = time(Math.max(1, Math.ceil(seconds / alone)));
  return bytes / 1e6 / Math.min(alone, mean);
}

export function spread(values: number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

/** One series per case: what was measured in each round, in order. */
export class Series {
  readonly corpus: string;
  readonly #rates = new Map<string, { group: string; name: string; rates: number[] }>();

  constructor(corpus: string) {
    this.corpus = corpus;
  }

  add(group: string, name: string, value: number): void {
    const key = `${group} ${name}`;
    const series = this.#rates.get(key) ?? { group, name, rates: [] };
    series.rates.push(value);
    this.#rates.set(key, series);
  }

  figures(): Figure[] {
    return [...this.#rates.values()].map(({ group, name, rates }) => {
      return { corpus: this.corpus, group, name, ...spread(rates) };
    });
  }

  /** In each group the first case is ours, the others are its peers. */
  ratios(): Ratio[] {
    const groups = Map.groupBy(this.#rates.values(), ({ group }) => group);
    return [...groups.values()].flatMap(([ours, ...peers]) =>
      peers.map((peer) => {
        const values = peer.rates.map((value, i) => ours!.rates[i]! / value);
        const { corpus } = this;
        const names = { ours: ours!.name, peer: peer.name };
        return { corpus, group: ours!.group, ...names, ...spread(values) };
      }),
    );
  }
}
