import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The project's folder. */
export const projectFolder = join(import.meta.dirname, '../../..');

/** The blocks of code in a language that a page shows, in order. */
export function codeBlocks(page: string, language: string): string[] {
  const text = readFileSync(join(projectFolder, page), 'utf8');
  const blocks = text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'));
  return [...blocks].map(([, code]) => code!);
}

/** The only block of a page that contains a text. */
export function codeBlock(page: string, language: string, containing: string): string {
  const found = codeBlocks(page, language).filter((code) => code.includes(containing));
  if (found.length === 1) return found[0]!;
  throw new Error(`${page} has ${found.length} blocks of ${language} with "${containing}"`);
}
