/** What the storage core shall reach, beside the peers of the same run. Pure. */
import { pairedRatio } from './statistics.ts';
import type { CaseResult, ContenderResult, GoalResult, Metric, Report } from './types.ts';

type Measured = Pick<Report, 'cases' | 'kernels'>;
type Goal = {
  id: string;
  text: string;
  atLeast?: number;
  atMost?: number;
  aim?: string;
  unit?: string;
  figure(measured: Measured): number | undefined;
  /** The same by what the kernels and reads alone take. */
  limit?(measured: Measured): number | undefined;
};

const mib = 1024 * 1024;

/** "How many times what `under` takes does `over` take?" */
function ratio(caseId: string, over: string, under: string, metric: Metric = 'wallSeconds') {
  return ({ cases }: Measured): number | undefined => {
    const item = cases.find(({ id }) => id === caseId);
    const [a, b] = [over, under].map((id) => contender(item, id));
    return a && b && pairedRatio(a.runs, b.runs, metric)?.median;
  };
}

function contender(item: CaseResult | undefined, id: string): ContenderResult | undefined {
  return item?.contenders.find((found) => found.id === id);
}

function wallMs(caseId: string, id: string) {
  return ({ cases }: Measured): number | undefined => {
    const found = contender(
      cases.find((item) => item.id === caseId),
      id,
    );
    return found && found.summary.wallSeconds.median * 1000;
  };
}

/** The largest process of ours in any case, in MiB. */
function peakMib(isWanted: (id: string) => boolean) {
  return ({ cases }: Measured): number | undefined => {
    const peaks = cases
      .flatMap(({ contenders }) => contenders)
      .filter(({ isOurs, id }) => isOurs && isWanted(id))
      .map(({ summary }) => summary.peakBytes.max / mib);
    return peaks.length === 0 ? undefined : Math.max(...peaks);
  };
}

const over = (caseId: string, peer: string, atLeast: number, aim?: number): Goal => ({
  id: `${caseId}-${peer}`,
  text: `${caseId}: time of ${peer} by ours`,
  atLeast,
  ...(aim !== undefined && { aim: `>= ${aim}` }),
  figure: ratio(caseId, peer, 'mano'),
  limit: ratio(caseId, peer, 'limit'),
});

/** Of bench/kernels.ts: how many times faster than the peer, in the same rounds. */
function kernel(text: string, of: [string, string, RegExp], atLeast: number, aim?: number): Goal {
  const [corpus, group, peer] = of;
  return {
    id: `kernel-${corpus}-${group}-${atLeast}`,
    text: `kernel: ${text}`,
    atLeast,
    ...(aim !== undefined && { aim: `>= ${aim}` }),
    figure: ({ kernels }) => {
      const { ratios = [] } = (kernels ?? {}) as { ratios?: KernelRatio[] };
      const found = ratios.find(
        (item) => item.corpus === corpus && item.group === group && peer.test(item.peer),
      );
      return found?.median;
    },
  };
}

type KernelRatio = { corpus: string; group: string; peer: string; median: number };

export const goals: readonly Goal[] = [
  kernel('LZ4 compresses a disk, by native `lz4 -b1`', ['disk', 'compress', /native/], 1, 1.15),
  kernel('LZ4 compresses a disk, by lz4-wasm', ['disk', 'compress', /lz4-wasm/], 1.8),
  kernel('LZ4 compresses memory, by native `lz4 -b1`', ['memory', 'compress', /native/], 0.9, 1),
  kernel('LZ4 decompresses, by native', ['disk', 'decompress', /native/], 0.9, 1),
  kernel("BLAKE3, by Node's SHA-256", ['disk', 'hash', /sha-?256/i], 1.1, 1.3),
  over('full', 'lz4', 2, 2.5),
  over('full', 'lz4-unchecked', 1.3),
  over('full', 'borg', 2.2),
  over('full', 'restic', 4.3),
  over('full', 'qemu-zstd', 2.2),
  {
    id: 'full-workers',
    text: 'full: time with 1 worker by time with 2 workers',
    atLeast: 1.75,
    aim: '>= 1.9',
    figure: ratio('full', 'mano-1-worker', 'mano-2-workers'),
    limit: ratio('full', 'limit-1-worker', 'limit'),
  },
  {
    id: 'full-bytes',
    text: 'full: bytes stored by those of `lz4 -1`',
    atMost: 1.01,
    figure: ratio('full', 'mano', 'lz4', 'storedBytes'),
  },
  {
    id: 'full-zstd-bytes',
    text: 'full, zstd: bytes stored by those of `zstd -1`',
    atMost: 1.03,
    figure: ratio('full', 'mano-zstd', 'zstd', 'storedBytes'),
  },
  over('incremental', 'restic', 4.8),
  over('incremental', 'borg', 2.5, 3.5),
  over('incremental', 'qemu-rebase', 1.3),
  {
    id: 'incremental-parent-image',
    text: 'incremental: time by hash list by time with the old image at hand',
    atLeast: 1.4,
    figure: ratio('incremental', 'mano', 'mano-parent-image'),
    limit: ratio('incremental', 'mano', 'limit-parent-image'),
  },
  {
    id: 'incremental-map-script',
    text: 'incremental, map: time of a script that hashes nothing by ours in a warm service',
    atLeast: 1,
    figure: ratio('incremental', 'map-script', 'mano-warm-map'),
  },
  {
    id: 'incremental-bytes',
    text: 'incremental: bytes stored by those without deltas (plain LZ4 of the changed blocks)',
    atMost: 0.65,
    figure: ratio('incremental', 'mano', 'mano-no-delta', 'storedBytes'),
  },
  {
    id: 'incremental-bytes-xdelta3',
    text: 'incremental: bytes stored by those of xdelta3',
    atMost: 2,
    figure: ratio('incremental', 'mano', 'xdelta3', 'storedBytes'),
  },
  {
    id: 'no-change-map',
    text: 'no change, map: time in a warm service',
    atMost: 50,
    unit: 'ms',
    figure: wallMs('no-change', 'mano-warm-empty-map'),
  },
  {
    id: 'sizes-no-change',
    text: 'no change, map: time in a warm service, the large disk',
    atMost: 50,
    unit: 'ms',
    figure: wallMs('sizes', 'large-no-change'),
  },
  {
    id: 'sizes-map',
    text: 'the same change, map, warm service: time of the large disk by time of the small one',
    atMost: 1.3,
    figure: ratio('sizes', 'large', 'small'),
  },
  over('restore', 'restic', 1.5),
  over('restore', 'borg', 1.5),
  over('restore', 'lz4', 1),
  {
    id: 'peak',
    text: 'peak memory of ours, LZ4, all cases',
    atMost: 150,
    unit: 'MiB',
    figure: peakMib((id) => id !== 'mano-zstd'),
  },
  {
    id: 'peak-zstd',
    text: 'peak memory of ours, zstd',
    atMost: 300,
    unit: 'MiB',
    figure: peakMib((id) => id === 'mano-zstd'),
  },
];

/** Every goal, with its figure where it was measured. */
export function judge(measured: Measured): GoalResult[] {
  return goals.map(({ id, text, atLeast, atMost, aim, unit, figure: measure, limit: bound }) => {
    const demand = atLeast === undefined ? `<= ${atMost}` : `>= ${atLeast}`;
    const figure = measure(measured);
    const limit = bound?.(measured);
    const isReached =
      figure !== undefined && figure >= (atLeast ?? -Infinity) && figure <= (atMost ?? Infinity);
    return {
      id,
      text,
      demand: unit === undefined ? demand : `${demand} ${unit}`,
      ...(aim !== undefined && { aim }),
      ...(figure !== undefined && { figure, isReached }),
      ...(limit !== undefined && { limit }),
    };
  });
}
