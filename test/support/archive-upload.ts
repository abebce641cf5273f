import { createHash } from 'node:crypto';

/** The messages of an upload of `bytes`, from an offset on; `more` replaces fields of the header. */
export async function* uploadOf(
  archiveId: string,
  bytes: Buffer,
  offset = 0,
  more: { sha256?: string; sizeBytes?: bigint; stopAt?: number; pause?: Promise<unknown> } = {},
) {
  const sha256 = more.sha256 ?? createHash('sha256').update(bytes).digest('hex');
  const sizeBytes = more.sizeBytes ?? BigInt(bytes.length);
  const header = { archiveId, sizeBytes, sha256, offset: BigInt(offset) };
  yield { part: { case: 'header' as const, value: header } };
  const end = more.stopAt ?? bytes.length;
  for (let at = offset; at < end; at += 65536) {
    const value = bytes.subarray(at, Math.min(end, at + 65536));
    yield { part: { case: 'content' as const, value } };
  }
  await more.pause;
}
