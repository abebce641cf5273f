import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';

/** The project's own folder. */
export const projectFolder = join(import.meta.dirname, '../..');

/** `mano setup`: the launcher has made the project ready already; `--system` adds what QEMU needs. */
export function setupCommand(program: Command): void {
  program
    .command('setup')
    .description('make the project ready; with --system also install what QEMU needs')
    .option('--system', 'install Debian packages and build the guest image (root)')
    .action(({ system }: { system?: boolean }) => {
      if (system) process.exitCode = setupSystem();
      else process.stdout.write('the project is ready\n');
    });
}

/** Runs the installation of system packages; returns its exit code. */
export function setupSystem(): number {
  const script = join(projectFolder, 'app/setup-system.sh');
  const { status } = spawnSync('sh', [script], { stdio: ['ignore', 2, 2] });
  return status ?? 1;
}
