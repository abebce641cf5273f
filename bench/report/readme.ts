import { failedPrecondition } from '../../sdk/errors.ts';

export const beginMark = '<!-- bench:begin -->';
export const endMark = '<!-- bench:end -->';

/** The text with what is between the two marks replaced. README_MARKS when they are not there. */
export function betweenMarks(text: string, content: string): string {
  const begin = text.indexOf(beginMark);
  const end = text.indexOf(endMark);
  if (begin < 0 || end < begin) {
    const problem = `the README has no ${beginMark} … ${endMark}`;
    throw failedPrecondition('README_MARKS', problem, {});
  }
  return `${text.slice(0, begin + beginMark.length)}\n${content}\n${text.slice(end)}`;
}
