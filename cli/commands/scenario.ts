import type { Command } from 'commander';
import { localAction } from '../action.ts';
import { exitCode } from '../exit-codes.ts';
import { printJson } from '../output.ts';
import { setupSystem } from './setup.ts';

type ScenarioCommandOptions = {
  driver: string;
  failure: string;
  indirect?: boolean;
  setup?: boolean;
  json?: boolean;
};

/** `mano scenario`: the use cases of GR NFV-TST 005 clause 4, on a site of their own. */
export function scenarioCommand(program: Command): void {
  program
    .command('scenario [name]')
    .description(
      'run a use case of GR NFV-TST 005 clause 4 on real guests; without a name, list them',
    )
    .option('--driver <kind>', 'wasmvm (needs nothing) or qemu (real Linux guests)', 'wasmvm')
    .option(
      '--failure <kind>',
      'of online-testing: stop, crash, stall or network-cut (the last two pass after 2 s)',
      'stop',
    )
    .option('--indirect', 'let the VNFM reach the VIM only through the NFVO')
    .option('--setup', 'install what the driver needs (Debian, root)')
    .option('--json', 'print one line of JSON at the end')
    .action(
      localAction<ScenarioCommandOptions>(async (options, given) => {
        const name = given as string | undefined;
        const { driver, failure, indirect, setup, json } = options;
        const { runScenario, useCases } = await import('../../app/scenario/all.ts');
        if (name === undefined) {
          const list = useCases.map(({ name, clause, description }) => ({
            name,
            clause,
            description,
          }));
          if (json) printJson({ scenarios: list });
          else
            for (const each of list)
              process.stdout.write(`${each.name} (${each.clause}): ${each.description}\n`);
          return exitCode.ok;
        }
        const { failureNamed } = await import('../../app/scenario/failure.ts');
        const kind = failureNamed(failure);
        if (setup && driver === 'qemu') {
          const status = setupSystem();
          if (status !== 0) return status;
        }
        const { requireDriver } = await import('../../app/demo/requirements.ts');
        requireDriver(driver);
        const print = (line: string) => void process.stdout.write(`${line}\n`);
        const result = await runScenario(name, {
          ...{ driver, failure: kind, print },
          ...(indirect && { configuration: { vnfm: { resourceManagement: 'indirect' } } }),
        });
        print(`\n${result.name} (clause ${result.clause}) in ${result.seconds} s`);
        for (const { step, what } of result.steps) print(`  ${step}. ${what}`);
        if (result.verdict) print(`  the tested service has ${result.verdict} the test`);
        for (const failure of result.failures) print(`  WRONG: ${failure}`);
        print(result.ok ? '  all post-conditions hold' : '  a post-condition does not hold');
        if (json) printJson(result);
        return result.ok ? exitCode.ok : exitCode.failed;
      }),
    );
}
