/**
 * How one kind of task is done: started early, several at a time; finished in order, one at a time.
 */
export type Stages<Task, Result> = {
  start(task: Task): Promise<Result>;
  /** Owns the result, also when it throws. */
  finish(task: Task, result: Result): Promise<void>;
  /** Takes a result that will not be finished, because an earlier task failed. */
  discard(result: Result): void;
};

/**
 * Runs the tasks with at most `limit` started and not finished. Stops at the first error or abort,
 * after every started task has ended, and throws that error.
 */
export async function inOrder<Task, Result>(
  tasks: AsyncIterable<Task>,
  limit: number,
  stages: Stages<Task, Result>,
  signal?: AbortSignal,
): Promise<void> {
  const started: { task: Task; result: Promise<Result> }[] = [];
  const finishFirst = async () => {
    const { task, result } = started.shift()!;
    await stages.finish(task, await result);
  };
  try {
    for await (const task of tasks) {
      signal?.throwIfAborted();
      if (started.length >= limit) await finishFirst();
      const result = stages.start(task);
      // Whoever finishes or discards the task sees the error; until then it is not "unhandled".
      result.catch(() => undefined);
      started.push({ task, result });
    }
    while (started.length > 0) await finishFirst();
    signal?.throwIfAborted();
  } finally {
    for (const { result } of started) await result.then(stages.discard, () => undefined);
  }
}

/**
 * The results of the tasks in order, with at most `limit` started before they are asked for. The
 * results need no disposal. When it ends early, every started task has ended before it returns.
 */
export async function* ahead<Task, Result>(
  tasks: AsyncIterable<Task>,
  limit: number,
  start: (task: Task) => Promise<Result>,
): AsyncGenerator<Result> {
  const started: Promise<Result>[] = [];
  try {
    for await (const task of tasks) {
      if (started.length >= limit) yield await started.shift()!;
      const result = start(task);
      // Whoever takes the result sees the error; until then it is not "unhandled".
      result.catch(() => undefined);
      started.push(result);
    }
    while (started.length > 0) yield await started.shift()!;
  } finally {
    await Promise.allSettled(started);
  }
}

/**
 * Lets tasks prepare side by side but begin in the order of their `take` calls. The core gives its
 * slots in the order of asking; a later run that asked first could take the last slot that an
 * earlier one needs to finish.
 */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /**
   * Runs `prepare` at once; `begin` after that and after all earlier calls of `begin` were made.
   */
  async take<Prepared, Result>(
    prepare: () => Promise<Prepared>,
    begin: (prepared: Prepared) => Promise<Result>,
  ): Promise<Result> {
    const before = this.last;
    const turn = Promise.withResolvers<void>();
    this.last = Promise.all([before, turn.promise]);
    try {
      const prepared = await prepare();
      await before;
      const result = begin(prepared);
      turn.resolve();
      return await result;
    } finally {
      turn.resolve();
    }
  }
}
