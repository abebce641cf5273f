import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';

/** The project's own folder. */
export const projectFolder = join(import.meta.dirname, '../..');

/** `mano setup`: the launcher has made the project ready already; options add system packages. */
export function setupCommand(program: Command): void {
  program
    .command('setup')
    .description('make the project ready; with options also install what is needed besides')
    .option('--system', 'install what QEMU needs (Debian, root) and build the guest image')
    .option('--bench', 'the same, and the peers of the benchmark and what builds its corpus')
    .action(({ system, bench }: { system?: boolean; bench?: boolean }) => {
      if (bench) process.exitCode = setupSystem('--bench');
      else if (system) process.exitCode = setupSystem();
      else process.stdout.write('the project is ready\n');
    });
}

/** Runs the installation of system packages; returns its exit code. */
export function setupSystem(...options: string[]): number {
  const script = join(projectFolder, 'app/setup-system.sh');
  const { status } = spawnSync('sh', [script, ...options], { stdio: ['ignore', 2, 2] });
  return status ?? 1;
}
