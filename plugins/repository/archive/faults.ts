import {
  dataLoss,
  invalidArgument,
  type RpcError,
  resourceExhausted,
} from '../../../sdk/errors.ts';

/** Why an archive is refused; `problem` in the metadata, so that a caller can branch on it. */
export type ArchiveProblem =
  | 'not-a-zip'
  | 'truncated'
  | 'unsafe-name'
  | 'duplicate-name'
  | 'not-a-file'
  | 'encrypted'
  | 'unknown-compression'
  | 'overlap'
  | 'headers-disagree'
  | 'manifest-missing'
  | 'manifest-invalid'
  | 'index-invalid'
  | 'external-file'
  | 'unlisted-file'
  | 'missing-file'
  | 'size'
  | 'crc'
  | 'digest'
  | 'image'
  | 'signature';

/**
 * The archive never was right: its author has to mend it. `file` is the entry, empty for the
 * archive itself.
 */
export function archiveInvalid(problem: ArchiveProblem, file: string, what: string): RpcError {
  return invalidArgument('ARCHIVE_INVALID', text(file, what), { problem, file, what });
}

/** The archive was right once, or lies about itself: get another copy. */
export function archiveDamaged(
  problem: ArchiveProblem,
  file: string,
  what: string,
  metadata: Record<string, string> = {},
): RpcError {
  return dataLoss('ARCHIVE_DAMAGED', text(file, what), { problem, file, what, ...metadata });
}

/** More than the caller of the import allows. */
export function archiveTooLarge(
  file: string,
  limit: string,
  allowed: number,
  found: number,
): RpcError {
  const message = text(file, `${limit} is ${found}, allowed are ${allowed}`);
  return resourceExhausted('ARCHIVE_TOO_LARGE', message, {
    file,
    limit,
    allowed: String(allowed),
    found: String(found),
  });
}

const text = (file: string, what: string) =>
  file === '' ? `the archive: ${what}` : `the archive's file ${file}: ${what}`;
