import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invalidArgument } from '../../sdk/errors.ts';
import type { SiteConfiguration } from '../configuration.ts';
import { Lab, type Print } from '../demo/lab.ts';
import { Site } from '../demo/site.ts';
import type { FailureKind } from './failure.ts';

/** How a use case is run. */
export type ScenarioOptions = {
  driver: string;
  /** Of online testing: what is done to a component. */
  failure: FailureKind;
  /** Settings of the site, for example indirect resource management. */
  configuration?: Partial<SiteConfiguration>;
  print: Print;
};

/** One step of a use case's description, as it went. */
export type ScenarioStep = { step: string; what: string };

export type ScenarioResult = {
  name: string;
  clause: string;
  /** The post-conditions of the use case hold. */
  ok: boolean;
  failures: string[];
  steps: ScenarioStep[];
  /** Of online testing: whether the network service passed the test. */
  verdict?: 'passed' | 'failed';
  snapshots: string[];
  packages: string[];
  seconds: number;
};

/** What a use case is given: a site with nothing on it, and where it writes down what it does. */
export type Stage = { site: Site; lab: Lab; options: ScenarioOptions; tell: Tell };
/** Writes down a step of the description, in the order of the report. */
export type Tell = (step: string, what: string) => void;

/** What a use case found out. */
export type Outcome = Pick<ScenarioResult, 'failures' | 'snapshots' | 'packages' | 'verdict'>;

export type UseCase = {
  name: string;
  clause: string;
  description: string;
  run(stage: Stage): Promise<Outcome>;
};

/** Runs a use case of clause 4 on a site of its own, which is gone after. */
export async function runUseCase(
  useCase: UseCase,
  options: ScenarioOptions,
): Promise<ScenarioResult> {
  const startMs = performance.now();
  const folder = await mkdtemp(join(tmpdir(), 'mano-'));
  const steps: ScenarioStep[] = [];
  const tell: Tell = (step, what) => {
    steps.push({ step, what });
    options.print(`\n== ${useCase.clause} step ${step}: ${what}`);
  };
  try {
    const outcome = await onSite(folder, options, (site, lab) =>
      useCase.run({ site, lab, options, tell }),
    );
    return {
      name: useCase.name,
      clause: useCase.clause,
      ok: outcome.failures.length === 0,
      ...outcome,
      steps,
      seconds: Math.round(performance.now() - startMs) / 1000,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function onSite(
  folder: string,
  { driver, configuration, print }: ScenarioOptions,
  work: (site: Site, lab: Lab) => Promise<Outcome>,
): Promise<Outcome> {
  const site = await Site.start('A', folder, { version: 1, drivers: [driver], ...configuration });
  const lab = new Lab(site, print);
  try {
    return await work(site, lab);
  } finally {
    try {
      await lab.clean();
    } finally {
      await lab.stopAgents();
      await site.stop();
    }
  }
}

/** Finds a use case by its name. INVALID_ARGUMENT with reason USAGE. */
export function useCaseNamed(all: readonly UseCase[], name: string): UseCase {
  const found = all.find((useCase) => useCase.name === name);
  if (found !== undefined) return found;
  const known = all.map((useCase) => useCase.name).join(', ');
  throw invalidArgument('USAGE', `there is no scenario "${name}"; known: ${known}`, { name });
}
