import { InvalidArgumentError } from 'commander';

export type Label = { key: string; value: string };

/** Parses `key=value` for an option that may be given several times. */
export function label(text: string, before: Label[] = []): Label[] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('must be like key=value');
  return [...before, { key: text.slice(0, at), value: text.slice(at + 1) }];
}
