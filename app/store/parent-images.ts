import { invalidArgument } from '../../sdk/errors.ts';

/**
 * The image that each parent's image was made of, by the name of the new one. `given` has one path
 * for each image in their order, or `<name>=<path>` for some. PARENT_IMAGE_INVALID
 * (INVALID_ARGUMENT) says which does not fit.
 */
export function parentImages(
  given: readonly string[],
  names: readonly string[],
  { parent, changedMap }: { parent?: string; changedMap?: string },
): Map<string, string> {
  if (given.length === 0) return new Map();
  if (parent === undefined) throw invalid('need the parent package that was made of them');
  if (changedMap !== undefined) throw invalid('and a changed map exclude each other: give one');
  const named = given.map((text) => parse(text, names));
  const found = new Map<string, string>();
  for (const [index, { name = names[index], path }] of named.entries()) {
    if (name === undefined) throw invalid(`are more than images are packed: ${path} is left over`);
    if (found.has(name)) throw invalid(`say twice what "${name}" was: ${path}`);
    found.set(name, path);
  }
  const isInOrder = named.every(({ name }) => name === undefined);
  if (isInOrder && found.size < names.length) {
    throw invalid(`are fewer than images: give one for each, or name them, "<image>=<path>"`);
  }
  return found;
}

// A path may have a "=" in it: only the name of an image before it counts.
function parse(text: string, names: readonly string[]): { name?: string; path: string } {
  const name = names.find((each) => text.startsWith(`${each}=`));
  return name === undefined ? { path: text } : { name, path: text.slice(name.length + 1) };
}

function invalid(problem: string): Error {
  return invalidArgument('PARENT_IMAGE_INVALID', `parent images ${problem}`, { problem });
}
