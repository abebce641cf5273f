import { type Duration, durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { failedPrecondition, invalidArgument } from '../../../../sdk/errors.ts';
import { failpoint } from '../../../../sdk/failpoint.ts';
import type { Handlers } from '../../../../sdk/server.ts';
import { withGuestAgent } from '../channels/guest-agent.ts';
import { computeLock } from '../disks/tidy.ts';
import { agentError, wrongState } from '../errors.ts';
import type { LeaseFile } from '../leases/lease-files.ts';
import { leaseExpired } from '../leases/leases.ts';
import { liveMachine, observe } from '../machine/lifecycle.ts';
import type { Machine } from '../machine/machine.ts';
import type { CallName, DriverContext } from '../state/context.ts';
import { holdStartMs, leaseMessage } from './messages.ts';

const deadlineMsMax = 600_000;
/**
 * A guest with dirty pages takes seconds to freeze; it must not take the whole of the deadline
 * either.
 */
const freezeMsMax = 10_000;
const thawMs = 10_000;
const clockMs = 3_000;

type BarrierHandlers = Pick<
  Handlers<typeof DriverService>,
  'quiesceCompute' | 'unquiesceCompute' | 'holdCompute' | 'releaseCompute'
>;

/**
 * The calls that bring a guest to a standstill for a capture, each with a deadline that outlives
 * this process.
 */
export function barrierHandlers(context: DriverContext): BarrierHandlers {
  const locked = <T>(computeId: string, work: () => Promise<T>) =>
    context.locks.run(computeLock(computeId), work);
  return {
    quiesceCompute: ({ computeId, deadline, call }) =>
      locked(computeId, () => quiesce(context, computeId, boundedMs(deadline!), call)),
    unquiesceCompute: ({ computeId, leaseId }) =>
      locked(computeId, async () => ({
        thawedFileSystems: await unquiesce(context, computeId, leaseId),
      })),
    holdCompute: ({ computeId, deadline, call }) =>
      locked(computeId, () => hold(context, computeId, boundedMs(deadline!), call)),
    releaseCompute: ({ computeId, leaseId }) =>
      locked(computeId, async () => {
        await release(context, computeId, leaseId);
        const releaseTime = timestampFromMs(Date.now());
        // A frozen guest's agent does nothing but thaw; its clock is set after that.
        const frozen = await context.leases.find(computeId, 'freeze');
        if (!frozen) await setClock(context, computeId);
        return { releaseTime };
      }),
  };
}

function boundedMs(duration: Duration): number {
  const ms = durationMs(duration);
  if (ms >= 1 && ms <= deadlineMsMax) return ms;
  const text = `deadline: ${ms} ms is not between 1 and ${deadlineMsMax} ms`;
  throw invalidArgument('FIELD_VIOLATION', text, { deadline_ms: String(ms) });
}

/**
 * A lease taken by an earlier try of the same call, or nothing; another lease of the kind is an
 * error.
 */
async function earlierLease(
  context: DriverContext,
  computeId: string,
  kind: 'hold' | 'freeze',
  call: CallName,
): Promise<LeaseFile | undefined> {
  const earlier = context.earlierCall(context.compute(computeId), kind, call);
  const present = await context.leases.find(computeId, kind);
  if (earlier?.leaseId && present?.leaseId === earlier.leaseId) return present;
  if (earlier?.leaseId) throw leaseExpired(earlier.leaseId);
  if (!present) return undefined;
  const text = `${computeId} has a ${kind} already, lease ${present.leaseId}`;
  throw failedPrecondition('LEASE_HELD', text, { lease_id: present.leaseId });
}

async function takeLease(
  context: DriverContext,
  machine: Machine,
  lease: Pick<LeaseFile, 'kind' | 'computeId' | 'durationMs' | 'resume' | 'thaw'>,
  call: CallName,
): Promise<LeaseFile> {
  const taken = await context.leases.take({
    ...lease,
    runFolder: machine.folder,
    uuid: machine.uuid,
  });
  const present = context.compute(lease.computeId);
  const calls = context.withCall(present, lease.kind, call, taken.leaseId);
  context.update(lease.computeId, { calls });
  return taken;
}

async function runningMachine(context: DriverContext, computeId: string): Promise<Machine> {
  const { state } = await observe(context, computeId);
  if (state !== 'RUNNING') throw wrongState(computeId, state, 'RUNNING');
  return context.machine(computeId)!;
}

async function quiesce(
  context: DriverContext,
  computeId: string,
  durationMs: number,
  call: CallName,
) {
  const earlier = await earlierLease(context, computeId, 'freeze', call);
  const machine = await runningMachine(context, computeId);
  // The watchdog knows of it before anything is frozen.
  const lease =
    earlier ??
    (await takeLease(
      context,
      machine,
      { kind: 'freeze', computeId, durationMs, resume: false, thaw: true },
      call,
    ));
  await failpoint('qemu.quiesce.armed');
  let asked = false;
  try {
    const budgetMs = Math.min(freezeMsMax, durationMs);
    const frozen = await withGuestAgent(machine.path('agent'), budgetMs, async (agent) => {
      // A repeat finds the file systems frozen; the agent then refuses most commands, freeze too.
      if ((await agent.freezeStatus()) === 'frozen') return 0;
      asked = true;
      return agent.freeze();
    });
    await context.leases.assertInForce(lease.leaseId);
    context.changed(computeId);
    return { lease: leaseMessage(lease), frozenFileSystems: frozen };
  } catch (error) {
    if (!asked) await context.leases.files.release(lease.leaseId);
    // The freeze may have come through all the same, so it is undone. An agent that cannot even do
    // that leaves the lease in force: the watchdog goes on trying.
    else {
      await machine.thaw(thawMs).then(
        () => context.leases.files.release(lease.leaseId),
        () => expireSoon(context, lease),
      );
    }
    throw agentError(error, computeId);
  }
}

/** The guest did not answer: whatever is frozen is thawed as soon as it does, by the watchdog. */
async function expireSoon(context: DriverContext, lease: LeaseFile): Promise<void> {
  if (!(await context.leases.files.read(lease.leaseId))) return;
  await context.leases.files.write({ ...lease, deadlineMonotonicMs: 0 });
}

async function unquiesce(
  context: DriverContext,
  computeId: string,
  leaseId: string,
): Promise<number> {
  const present = await context.leases.find(computeId, 'freeze');
  if (leaseId && present?.leaseId !== leaseId) {
    if (await context.leases.files.readFired(leaseId)) throw leaseExpired(leaseId);
    return 0; // ended by an earlier call
  }
  const machine = await liveMachine(context, computeId);
  if (!machine) {
    if (present) await context.leases.files.release(present.leaseId);
    return 0; // a guest that is gone has nothing frozen
  }
  if ((await machine.state()) !== 'RUNNING') {
    throw wrongState(computeId, 'PAUSED', 'RUNNING: a paused guest cannot thaw');
  }
  let thawed: number;
  try {
    thawed = await machine.thaw(thawMs);
  } catch (error) {
    throw agentError(error, computeId);
  }
  context.update(computeId, { frozen: false });
  await setClock(context, computeId);
  const released = present ? await context.leases.files.release(present.leaseId) : true;
  context.changed(computeId);
  if (!released && thawed === 0) throw leaseExpired(present!.leaseId);
  return thawed;
}

async function hold(context: DriverContext, computeId: string, durationMs: number, call: CallName) {
  const earlier = await earlierLease(context, computeId, 'hold', call);
  if (earlier) {
    const startMs = holdStartMs(context.compute(computeId), earlier);
    return { lease: leaseMessage(earlier, startMs) };
  }
  const { state } = await observe(context, computeId);
  if (state !== 'RUNNING' && state !== 'PAUSED') {
    throw wrongState(computeId, state, 'RUNNING or PAUSED');
  }
  const machine = context.machine(computeId)!;
  const resume = state === 'RUNNING';
  const wanted = { kind: 'hold', computeId, durationMs, resume, thaw: false } as const;
  const lease = await takeLease(context, machine, wanted, call);
  await failpoint('qemu.hold.armed');
  try {
    await machine.pause();
  } catch (error) {
    await context.leases.files.release(lease.leaseId);
    throw error;
  }
  const timeMs = Date.now();
  context.update(computeId, { holdStart: { leaseId: lease.leaseId, timeMs } });
  context.changed(computeId);
  return { lease: leaseMessage(lease, timeMs) };
}

/**
 * First the effect, then the end of the lease: a crash in between leaves a lease whose end does
 * nothing.
 */
async function release(context: DriverContext, computeId: string, leaseId: string): Promise<void> {
  const compute = context.compute(computeId);
  // Whoever names a lease expects its guest to run on.
  const { state } = await observe(context, computeId);
  if (leaseId && state === 'FAILED') throw wrongState(computeId, state, 'RUNNING or PAUSED');
  const present = await context.leases.find(computeId, 'hold');
  if (leaseId && present?.leaseId !== leaseId) {
    if (await context.leases.files.readFired(leaseId)) throw leaseExpired(leaseId);
    return;
  }
  if (!present) return;
  const machine = await liveMachine(context, compute.computeId);
  if (machine && present.resume) await machine.resume();
  await context.leases.end(present.leaseId);
  context.changed(computeId);
}

/** Memory from another time has a clock from that time. A guest that has no agent keeps it. */
async function setClock(context: DriverContext, computeId: string): Promise<void> {
  if (!context.compute(computeId).clockBehind) return;
  const machine = await liveMachine(context, computeId);
  if (!machine || (await machine.state()) !== 'RUNNING') return;
  try {
    await machine.setClock(clockMs);
    context.update(computeId, { clockBehind: false });
  } catch (error) {
    context.logger.warn('the clock of a reverted guest is not set', { computeId, error });
  }
}
