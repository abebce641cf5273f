import type { Progress } from '../../../gen/nfv/common/v1/common_pb.js';
import { internal } from '../../../sdk/errors.ts';
import type { StepContext } from '../../../sdk/operations/engine.ts';

/** What the peers of long steps stream: how far they are, then the end. */
type Event = { event: { case?: string | undefined; value?: unknown } };

type ValueOf<E extends Event, Case> = Extract<E['event'], { case: Case }>['value' &
  keyof E['event']];

/**
 * Passes the progress of a peer on to the watchers of the operation, and returns the last message.
 * INTERNAL with reason RESPONSE_INCOMPLETE when the stream ended without it.
 */
export async function relay<E extends Event, Case extends string>(
  events: AsyncIterable<E>,
  last: Case,
  context: Pick<StepContext, 'progress'>,
  expectedBytes?: bigint,
): Promise<NonNullable<ValueOf<E, Case>>> {
  let result: unknown;
  for await (const { event } of events) {
    if (event.case === last) result = event.value;
    if (event.case !== 'progress') continue;
    const { doneBytes, totalBytes, activity } = event.value as Progress;
    context.progress(doneBytes, totalBytes ?? expectedBytes, activity);
  }
  if (result !== undefined) return result as NonNullable<ValueOf<E, Case>>;
  throw internal('RESPONSE_INCOMPLETE', `the stream ended without its last message, "${last}"`);
}
