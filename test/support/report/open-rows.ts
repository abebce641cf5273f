/**
 * Rows of the report that no test shows yet. A row leaves this list when a test has its tag; nothing may be added for what had one.
 */
export const openRows: ReadonlySet<string> = new Set(
  `
    5.1.3.2/path
  `
    .trim()
    .split(/\s+/),
);
