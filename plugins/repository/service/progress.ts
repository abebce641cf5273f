/** How far a piece of work is. */
export type WorkProgress = { doneBytes: number; totalBytes: number; activity: string };

/** Progress goes out at most this often; in between only the latest is kept. */
const progressMsMin = 100;

type Event<T> =
  | {
      event: {
        case: 'progress';
        value: { doneBytes: bigint; totalBytes: bigint; activity: string };
      };
    }
  | { event: T };

/**
 * Runs `work` and yields its progress, then what it returned. Leaving the loop, or an abort of `signal`, interrupts the
 * work; the loop ends only when the work has, so that nothing goes on unseen.
 */
export async function* withProgress<T>(
  signal: AbortSignal,
  work: (report: (progress: WorkProgress) => void, signal: AbortSignal) => Promise<T>,
): AsyncGenerator<Event<T>> {
  const left = new AbortController();
  let latest: WorkProgress | undefined;
  const report = (progress: WorkProgress) => {
    latest = progress;
  };
  const done = work(report, AbortSignal.any([signal, left.signal]));
  const settled = done.then(
    () => true,
    () => true,
  );
  try {
    while (!(await Promise.race([settled, pause(progressMsMin)]))) {
      if (!latest) continue;
      const { doneBytes, totalBytes, activity } = latest;
      latest = undefined;
      const value = { doneBytes: BigInt(doneBytes), totalBytes: BigInt(totalBytes), activity };
      yield { event: { case: 'progress', value } };
    }
    yield { event: await done };
  } finally {
    left.abort();
    await settled;
  }
}

function pause(ms: number): Promise<false> {
  return new Promise((resolve) => setTimeout(resolve, ms, false));
}
