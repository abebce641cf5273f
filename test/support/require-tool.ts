import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { ExecutionContext } from 'ava';

/** True when an executable of that name is in PATH or in the folders where root's tools live. */
export function hasTool(name: string): boolean {
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

/**
 * Returns false and names the skip when a tool is missing; under CI the test fails instead, because there
 * everything can be installed. Use: `if (!skipUnless(t, 'qemu-system-x86_64')) return;`
 */
export function skipUnless(t: ExecutionContext, ...tools: string[]): boolean {
  const missing = tools.filter((tool) => !hasTool(tool));
  if (missing.length === 0) return true;
  const text = `skipped: ${t.title}: needs ${missing.join(', ')}; install with ./mano setup --system`;
  if (process.env.CI === 'true') t.fail(text);
  else {
    t.log(text);
    t.pass(text);
  }
  return false;
}
