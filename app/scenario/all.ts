import { lifecycleProcedure } from './lifecycle-procedure.ts';
import { onlineTesting } from './online-testing.ts';
import { quickRecovery } from './quick-recovery.ts';
import { rootCauseAnalysis } from './root-cause-analysis.ts';
import {
  runUseCase,
  type ScenarioOptions,
  type ScenarioResult,
  type UseCase,
  useCaseNamed,
} from './scenario.ts';

/** The use cases of GR NFV-TST 005 clause 4. */
export const useCases: readonly UseCase[] = [
  onlineTesting,
  rootCauseAnalysis,
  lifecycleProcedure,
  quickRecovery,
];

/** Runs a use case by its name. */
export function runScenario(name: string, options: ScenarioOptions): Promise<ScenarioResult> {
  return runUseCase(useCaseNamed(useCases, name), options);
}
