// A worker of the pool: takes jobs, answers each in order.
import { parentPort, workerData } from 'node:worker_threads';
import { CoreError, toErrorMessage } from './errors.ts';
import type { Job } from './job.ts';
import { runJob } from './job.ts';
import { instantiate } from './load.ts';
import type { WorkerReply, WorkerStart } from './worker-crew.ts';

const { module, memory, index } = workerData as WorkerStart;
const core = instantiate(module, memory, index);
const port = parentPort!;

function answer(job: Job): WorkerReply {
  try {
    return { slot: job.slot.index, used: runJob(core, job) };
  } catch (error) {
    // Anything else is a fault of the program: the worker ends, and the pool says so.
    if (!(error instanceof CoreError)) throw error;
    return { slot: job.slot.index, error: toErrorMessage(error) };
  }
}

port.on('message', (job: Job) => port.postMessage(answer(job)));
