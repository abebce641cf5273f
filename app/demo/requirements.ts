import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { failedPrecondition, invalidArgument } from '../../sdk/errors.ts';
import { driverKinds } from '../configuration.ts';
import { isInstalled } from '../system.ts';

const projectFolder = join(import.meta.dirname, '../..');

/**
 * Checks that the demo can run on a driver. FAILED_PRECONDITION with reason DRIVER_NOT_READY names
 * the packages that are missing and the command that installs them.
 */
export function requireDriver(driver: string): void {
  if (!driverKinds.includes(driver)) {
    const text = `--driver "${driver}": must be one of ${driverKinds.join(', ')}`;
    throw invalidArgument('USAGE', text, { driver });
  }
  if (driver !== 'qemu') return;
  const remedy = 'run as root: ./mano demo --driver qemu --setup';
  if (!isInstalled('qemu-system-x86_64') || !isInstalled('qemu-img')) {
    const text = `QEMU is missing. Packages to install: ${missingPackages()}; ${remedy}`;
    throw failedPrecondition('DRIVER_NOT_READY', text, { driver });
  }
  const build = join(projectFolder, 'plugins/drivers/qemu/guest-image/build.sh');
  const { status, stderr } = spawnSync('sh', [build, '--check'], { encoding: 'utf8' });
  if (status === 0) return;
  const why = stderr.trim() || 'it has not been built';
  const text = `the guest image is not ready: ${why}; ${remedy}`;
  throw failedPrecondition('DRIVER_NOT_READY', text, { driver });
}

function missingPackages(): string {
  const script = join(projectFolder, 'app/setup-system.sh');
  return spawnSync('sh', [script, '--missing'], { encoding: 'utf8' }).stdout.trim();
}
