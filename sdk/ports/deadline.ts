/** Deadlines of calls are moments of the wall clock, as gRPC has them: here they meet durations. */

/** The moment that is so many milliseconds from now. */
export function deadlineIn(ms: number): Date {
  return new Date(Date.now() + ms);
}

/** Milliseconds until a deadline; negative when it has passed. */
export function msUntil(deadline: Date): number {
  return deadline.getTime() - Date.now();
}
