/** Which tools are installed, in which version, and which options our own commands have. */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { ToolVersion } from './types.ts';

const run = promisify(execFile);
const answerDeadlineMs = 30_000;

/** How each tool is asked for its version; others are only looked for. */
const questions: Record<string, readonly string[]> = {
  lz4: ['lz4', '--version'],
  zstd: ['zstd', '--version'],
  restic: ['restic', 'version'],
  borg: ['borg', '--version'],
  casync: ['casync', '--version'],
  xdelta3: ['xdelta3', '-V'],
  'qemu-img': ['qemu-img', '--version'],
  'python3-lz4': ['/usr/bin/python3', '-c', 'import lz4; print("python3-lz4", lz4.__version__)'],
};

/** Debian packages of the tools. */
export const debianPackages: Record<string, string> = {
  'qemu-img': 'qemu-utils',
  borg: 'borgbackup',
  'python3-lz4': 'python3-lz4',
};

export async function toolVersions(names: readonly string[]): Promise<ToolVersion[]> {
  return await Promise.all(names.map(toolVersion));
}

async function toolVersion(name: string): Promise<ToolVersion> {
  const question = questions[name];
  if (question === undefined) {
    return isInstalled(name) ? { name, version: '' } : { name, missing: 'not installed' };
  }
  try {
    const [program, ...rest] = question;
    const { stdout, stderr } = await run(program!, rest, { timeout: answerDeadlineMs });
    const line = `${stdout}${stderr}`.trim().split('\n')[0]!;
    const debian = await debianVersion(debianPackages[name] ?? name);
    return { name, version: `${/\d+(\.\d+)+/.exec(line)?.[0] ?? line}${debian}` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'not installed' : (error as Error).message.split('\n')[0]!;
    return { name, missing: reason };
  }
}

async function debianVersion(packageName: string): Promise<string> {
  // dpkg's own placeholder.
  const query = ['-W', '-f', '$'.concat('{Version}'), packageName];
  const answer = await run('dpkg-query', query, { timeout: answerDeadlineMs }).catch(() => null);
  return answer ? ` (Debian ${answer.stdout.trim()})` : '';
}

/** What of `mano COMMAND --OPTION` this version has not, as the contenders name it. */
export async function missingOptions(
  mano: string,
  needs: readonly string[],
): Promise<ToolVersion[]> {
  const wanted = needs.filter((need) => need.startsWith('mano '));
  const help = new Map<string, string>();
  const result: ToolVersion[] = [];
  for (const need of new Set(wanted)) {
    const [, command, option] = need.split(' ') as [string, string, string];
    const text = help.get(command) ?? (await run(mano, [command, '--help'])).stdout;
    help.set(command, text);
    if (!new RegExp(`${option}\\b`).test(text)) {
      result.push({ name: need, missing: 'this version has no such option' });
    }
  }
  return result;
}

function isInstalled(name: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
