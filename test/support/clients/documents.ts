import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The project's folder. */
export const projectFolder = join(import.meta.dirname, '../../..');

/** The text of a page of the project. */
export function page(name: string): string {
  return readFileSync(join(projectFolder, name), 'utf8');
}

/** The blocks of code in a language that a page shows, in order. */
export function codeBlocks(name: string, language: string): string[] {
  const blocks = page(name).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'));
  return [...blocks].map(([, code]) => code!);
}

/** The only block of a page that contains a text. */
export function codeBlock(name: string, language: string, containing: string): string {
  const found = codeBlocks(name, language).filter((code) => code.includes(containing));
  if (found.length === 1) return found[0]!;
  throw new Error(`${name} has ${found.length} blocks of ${language} with "${containing}"`);
}
