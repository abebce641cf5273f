// The machine room's thread. It owns the ticks and every deadline, so that both go on when the
// driver's thread hangs.
import { parentPort, workerData } from 'node:worker_threads';
import { RpcError } from '../../../../sdk/errors.ts';
import { fileError } from '../files.ts';
import { Heart } from './heartbeat.ts';
import type { ErrorShape, FromRoom, RoomOptions, ToRoom } from './protocol.ts';
import { Room } from './room.ts';
import { seededSchedule, takeTurns } from './schedule.ts';

const port = parentPort;
if (!port) throw new Error('machine/worker.ts is the entry of a worker thread');
const options = workerData as RoomOptions;

const room = new Room({
  heart: new Heart(options.heart),
  schedule: options.seed === undefined ? takeTurns : seededSchedule(BigInt(`0x${options.seed}`)),
  tickMs: options.tickMs,
  notify: (message) => port.postMessage(message),
});

let timer: NodeJS.Timeout | undefined;
let immediate: NodeJS.Immediate | undefined;

function turn(): void {
  clearTimeout(timer);
  clearImmediate(immediate);
  const pauseMs = room.turn();
  // A timer takes at least a millisecond, and slices of a capture should not wait for it.
  if (pauseMs === 0) immediate = setImmediate(turn);
  else timer = setTimeout(turn, pauseMs);
}

port.on('message', async ({ id, name, input }: ToRoom) => {
  try {
    const answer = Promise.resolve(room.handlers[name](input as never));
    turn();
    reply({ kind: 'answer', id, value: await answer });
  } catch (error) {
    reply({ kind: 'error', id, error: shape(error) });
  }
});
turn();

function reply(message: FromRoom): void {
  port?.postMessage(message, transferables(message));
}

/** Memory images are handed over, not copied. */
function transferables(message: FromRoom): ArrayBuffer[] {
  if (message.kind !== 'answer' || typeof message.value !== 'object' || message.value === null) {
    return [];
  }
  const { memory } = message.value as { memory?: Uint8Array<ArrayBuffer> };
  return memory instanceof Uint8Array ? [memory.buffer] : [];
}

function shape(thrown: unknown): ErrorShape {
  const error = RpcError.from(fileError(thrown));
  const { code, reason, message } = error;
  const stack = String((thrown as Error)?.stack ?? thrown);
  return { code, reason, message, metadata: { ...error.metadata }, stack };
}
