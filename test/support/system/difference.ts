/** What is missing from a list and what should not be in it, in words. */
export function difference(what: string, found: string[], expected: string[]): string[] {
  const missing = expected.filter((item) => !found.includes(item));
  const over = found.filter((item) => !expected.includes(item));
  return [
    ...(missing.length > 0 ? [`${what}: ${missing.join(', ')} are missing`] : []),
    ...(over.length > 0 ? [`${what}: ${over.join(', ')} should not be there`] : []),
  ];
}
