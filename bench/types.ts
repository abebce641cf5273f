/** What the parts of the benchmark hand to one another; the report's JSON form is made of these. */

/** One measured run. CPU is user and system time of all processes; the peak that of the largest. */
export type Figures = { wallSeconds: number; cpuSeconds: number; peakBytes: number };
export type Run = Figures & { round: number; storedBytes: number };
export type Metric = 'wallSeconds' | 'cpuSeconds' | 'peakBytes' | 'storedBytes';
export const metrics: readonly Metric[] = ['wallSeconds', 'cpuSeconds', 'peakBytes', 'storedBytes'];

/** Where a contender works in one round: files it may use, a folder of its own. */
export type Place = {
  /** Its own folder, new in every round. */
  folder: string;
  /** What its commands find in their environment besides the folder `W`. */
  variables: Record<string, string>;
};

/** Somebody who does the job of a case. A text is a `sh` script. */
export type Contender = {
  id: string;
  title: string;
  /** Ours are compared with; the others are peers. */
  isOurs: boolean;
  /** Makes no package: says how much of the time nobody can save who uses our kernels. Always takes part. */
  isLimit?: boolean;
  /** Tools (names of tools.ts) and options of `mano pack` without which it is left out. */
  needs: readonly string[];
  /** What every round begins with, made once and copied for each round; not measured. */
  base?: { key: string; script: string };
  /** The base is only read, so it is used where it is. */
  readsBase?: boolean;
  /** Before the measured part of each round. */
  prepare?: string | ((place: Place) => Promise<void>);
  run: string | ((place: Place) => Promise<Figures>);
  /** Restores what `run` made to `$W/back/…`; not measured. */
  unpack?: string;
  /** The restored file within the folder and the file that it must equal. */
  compare?: { restored: string; original: string };
  /** At the end of each round. */
  end?(): Promise<void>;
  /** For the slow ones: at most so many rounds. */
  roundsMax?: number;
};

export type Case = {
  id: string;
  title: string;
  /** What the bytes are of which a figure says how many were stored; absent: not worth a column. */
  stores?: string;
  variables: Record<string, string>;
  /** Images that are read once before the first round. */
  reads: readonly string[];
  contenders: readonly Contender[];
};

export type Summary = { median: number; min: number; max: number };
export type ContenderResult = {
  id: string;
  title: string;
  isOurs: boolean;
  runs: Run[];
  summary: Record<Metric, Summary>;
  /** This one's figure by the first one of ours in the same round; median over the rounds. */
  ratio: Partial<Record<Metric, Summary>>;
};
export type LeftOut = { id: string; title: string; reason: string };
export type CaseResult = {
  id: string;
  title: string;
  stores?: string;
  contenders: ContenderResult[];
  leftOut: LeftOut[];
};

export type Machine = {
  processor: string;
  processors: number;
  memoryBytes: number;
  kernel: string;
  system: string;
  node: string;
  /** Before the first case: much above 0 says that others were at work. */
  loadAverage: number;
  /** What two threads of pure computing do of what one does: the bound of a second worker. */
  scalingOfTwoThreads: number;
};
export type ToolVersion = { name: string; version?: string; missing?: string };
export type ImageNote = { name: string; bytes: number; note: string };

export type GoalResult = {
  id: string;
  text: string;
  /** `>= 2` or `<= 1.3`. */
  demand: string;
  aim?: string;
  figure?: number;
  /** What the figure would be if ours took no longer than its kernels and reads. */
  limit?: number;
  /** Absent: not measured in this run. */
  isReached?: boolean;
};

export type Report = {
  version: 1;
  at: string;
  commit: string;
  smoke: boolean;
  rounds: number;
  seconds: number;
  machine: Machine;
  tools: ToolVersion[];
  images: ImageNote[];
  cases: CaseResult[];
  goals: GoalResult[];
  /** Output of bench/kernels.ts, as it is. */
  kernels?: unknown;
};
