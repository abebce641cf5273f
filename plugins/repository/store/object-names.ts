/** Names of the objects of a repository; see docs/storage-format.md section 2. */
export const configName = 'repository.config';
/** Ballast; see docs/storage-format.md 2.7. */
export const reserveName = 'repository.reserve';
export const packagesPrefix = 'packages/';
export const segmentsPrefix = 'segments/';
export const indexesPrefix = 'indexes/';
export const quarantinePrefix = 'quarantine/';
export const resumePrefix = 'resume/';
/** Derived; see docs/storage-format.md section 9. */
export const lookupName = 'cache/lookup.table';

/** The prefixes that a backend must be able to list. */
export const prefixes = [
  packagesPrefix,
  segmentsPrefix,
  indexesPrefix,
  quarantinePrefix,
  resumePrefix,
] as const;

export const manifestName = (packageId: string) => `${packagesPrefix}${packageId}.manifest`;
export const segmentName = (segmentId: string) => `${segmentsPrefix}${segmentId}.segment`;
export const indexName = (segmentId: string) => `${indexesPrefix}${segmentId}.index`;
export const markerName = (run: string) => `${quarantinePrefix}${run}.marker`;
export const blockersName = (run: string) => `${quarantinePrefix}${run}.blockers`;

export const checkpointName = (key: string) => `${resumePrefix}${key}.checkpoint`;

/** What stands between prefix and suffix of the names that have both, in alphabetical order. */
export function stems(names: readonly string[], prefix: string, suffix: string): string[] {
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith(suffix))
    .map((name) => name.slice(prefix.length, name.length - suffix.length))
    .sort();
}
