import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { OpenFile } from './open-file.ts';
import type { ByteRange } from './source.ts';

/**
 * Which parts of a file hold data. Node has no lseek, so the kernel is asked (SEEK_DATA, SEEK_HOLE)
 * through the Perl that every Debian carries (`perl-base` is essential), on the open file itself
 * and not on its name. SEEK_DATA sees data that was written and not yet synced, which a list of
 * disk extents (FIEMAP) does not. Without Perl the whole file counts as data, which is slower and
 * never wrong.
 */
const seekScript = `
open(my $f, "<&=", 3) or exit 3;
my $at = 0;
while (defined(my $data = sysseek($f, $at, 3))) {
  my $hole = sysseek($f, $data + 0, 4);
  defined($hole) or exit 4;
  print $data + 0, " ", $hole + 0, "\\n";
  $at = $hole + 0;
}
$!{ENXIO} or exit 5;
print "end\\n";
`;
/** A file smaller than this is read as a whole: asking costs more than reading. */
const askFromBytes = 1 << 20;
/**
 * The same for parts of a file: reading that many zeros takes as long as asking about a large file
 * with few holes.
 */
const askFromBytesWithin = 256 << 20;

export type DataRange = { start: number; end: number };
/** `seek`: the kernel said it. `whole`: not asked, or it could not answer; `reason` says why. */
export type DataRanges = { ranges: AsyncIterable<DataRange>; origin: () => string };

type AskedFile = Pick<OpenFile, 'fd' | 'sizeBytes'>;

function sumOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}

async function* whole(file: AskedFile): AsyncGenerator<DataRange> {
  if (file.sizeBytes > 0) yield { start: 0, end: file.sizeBytes };
}

/**
 * In order, without overlaps, within the file's size; whatever lies between them reads as zeros.
 */
export function dataRanges(
  file: AskedFile,
  perl = 'perl',
  within?: readonly ByteRange[],
): DataRanges {
  if (file.sizeBytes < askFromBytes) return { ranges: whole(file), origin: () => 'whole:small' };
  if (within !== undefined && sumOf(within) < askFromBytesWithin) {
    return { ranges: whole(file), origin: () => 'whole:few parts asked for' };
  }
  let origin = 'seek';
  async function* ranges(): AsyncGenerator<DataRange> {
    let covered = 0;
    let complete = false;
    const child = spawn(perl, ['-MErrno', '-e', seekScript], {
      stdio: ['ignore', 'pipe', 'ignore', file.fd],
    });
    const ended = new Promise<void>((resolve) => {
      child.once('error', () => resolve());
      child.once('close', () => resolve());
    });
    try {
      for await (const line of createInterface({ input: child.stdout! })) {
        if (line === 'end') {
          complete = true;
          break;
        }
        const [start, end] = line.split(' ').map(Number) as [number, number];
        const sane = start >= covered && end > start && Number.isSafeInteger(end);
        if (!sane) break;
        covered = Math.min(end, file.sizeBytes);
        if (start < file.sizeBytes) yield { start, end: covered };
      }
    } finally {
      child.kill();
      await ended;
    }
    if (complete) return;
    origin = 'whole:no answer from perl about holes';
    if (covered < file.sizeBytes) yield { start: covered, end: file.sizeBytes };
  }
  return { ranges: ranges(), origin: () => origin };
}
