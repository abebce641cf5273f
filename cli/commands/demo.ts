import type { Command } from 'commander';
import { localAction } from '../action.ts';
import { exitCode } from '../exit-codes.ts';
import { printJson } from '../output.ts';
import { setupSystem } from './setup.ts';

type DemoOptions = { driver: string; indirect?: boolean; setup?: boolean; json?: boolean };

/** `mano demo`: the main job on two sites of its own, from nothing to the proof. */
export function demoCommand(program: Command): void {
  program
    .command('demo')
    .description(
      'snapshot, pack, export, wreck, import, extract and revert a running VNF, and prove it',
    )
    .option('--driver <kind>', 'wasmvm (needs nothing) or qemu (real Linux guests)', 'wasmvm')
    .option('--indirect', 'let the VNFM reach the VIM only through the NFVO (clauses 6.4.2, 6.4.4)')
    .option('--setup', 'install what the driver needs (Debian, root)')
    .option('--json', 'print one line of JSON at the end')
    .action(
      localAction<DemoOptions>(async ({ driver, indirect, setup, json }) => {
        if (setup && driver === 'qemu') {
          const status = setupSystem();
          if (status !== 0) return status;
        }
        const { requireDriver } = await import('../../app/demo/requirements.ts');
        requireDriver(driver);
        const { runDemo } = await import('../../app/demo/demo.ts');
        const { reportLines } = await import('../../app/demo/report.ts');
        const print = (line: string) => void process.stdout.write(`${line}\n`);
        const result = await runDemo({
          driver,
          print,
          ...(indirect && { configuration: { vnfm: { resourceManagement: 'indirect' } } }),
        });
        for (const line of reportLines(result)) print(line);
        if (json) printJson(result);
        return result.ok ? exitCode.ok : exitCode.failed;
      }),
    );
}
