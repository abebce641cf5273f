import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { VnfLcmService } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { aborted, internal, isRpcError, RpcError } from '../../../sdk/errors.ts';
import type { OperationEngine, StepContext } from '../../../sdk/operations/engine.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';
import type { HandlerContext, Handlers } from '../../../sdk/server.ts';

type LifeCycle = Required<
  Pick<
    Handlers<typeof VnfLcmService>,
    'createVnfSnapshot' | 'revertToVnfSnapshot' | 'operateVnf' | 'healVnf'
  >
>;

/** Starts an operation by its RPC. */
export type StartOwn = (
  lcm: LifeCycle,
  requestId: string,
  context: HandlerContext,
) => Promise<{ lifecycleOperationOccurrenceId?: string }>;

type Parts = { engine: OperationEngine; clock: Clock };

/** Between two tries to take a VNF that another operation had. */
const waitMs = 500;

/** How the VNFM appears as the caller of its own operations. */
const ownCaller = { role: 'vnfm', identity: 'vnfm' };
export const ownCallerName = `${ownCaller.role}/${ownCaller.identity}`;

/**
 * Operations that the VNFM starts itself, as an element manager would: each has its own occurrence,
 * grant, locks and journal, and goes on by itself when this process is killed.
 */
export class OwnOperations {
  #bound: (Parts & { lcm: LifeCycle }) | undefined;

  /** The engine's definitions are made before the engine and the handlers: these come later, once. */
  bind({ engine, clock }: Parts, lcm: LifeCycle): void {
    this.#bound = { engine, clock, lcm };
  }

  get #parts() {
    if (this.#bound === undefined) throw internal('ENGINE_STATE', 'the VNFM is not started yet');
    return this.#bound;
  }

  /**
   * Starts an operation for a step and waits for its end; a repeat of the step after a crash finds
   * the one that was started before it, and only a repeat after a failure starts another. Waits for
   * others that have the same VNF. ABORTED, with the reason of the operation, unless it completed;
   * what waits for a person is given up.
   */
  async run(
    step: Pick<StepContext, 'operationId' | 'stepId' | 'attempt' | 'signal' | 'result'>,
    what: string,
    start: StartOwn,
  ): Promise<LifecycleOperationOccurrence> {
    for (let attempt = 1; ; attempt++) {
      const requestId = `${step.operationId}/${step.stepId}/${what}/${attempt}`;
      const id = await this.#startWhenFree(step.signal, requestId, start);
      step.result(`operation.${what}`, id);
      const ended = await this.#ended(id, step.signal);
      if (ended.operationState === OperationState.COMPLETED) return ended;
      if (attempt >= step.attempt) throw failed(ended);
    }
  }

  /** Starts an operation without waiting for its end; returns its id. */
  async start(requestId: string, signal: AbortSignal, start: StartOwn): Promise<string> {
    const context = { signal, caller: ownCaller, target: '', metadata: {} };
    const answer = await start(this.#parts.lcm, requestId, context);
    return answer.lifecycleOperationOccurrenceId ?? '';
  }

  /** The latest operations of a VNF, newest first. */
  async latest(vnfInstanceId: string, countMax: number): Promise<LifecycleOperationOccurrence[]> {
    const { engine } = this.#parts;
    const found: LifecycleOperationOccurrence[] = [];
    let after: string | undefined;
    do {
      const page = await engine.list({ ...(after !== undefined && { after }) });
      found.push(
        ...page.records
          .map(({ value }) => value)
          .filter((occurrence) => occurrence.vnfInstanceId === vnfInstanceId),
      );
      after = page.next;
    } while (after !== undefined && found.length < countMax);
    return found.slice(0, countMax);
  }

  async #startWhenFree(signal: AbortSignal, requestId: string, start: StartOwn): Promise<string> {
    for (;;) {
      try {
        return await this.start(requestId, signal, start);
      } catch (thrown) {
        const other = blockerOf(thrown);
        if (other === undefined) throw thrown;
        const { engine, clock } = this.#parts;
        await engine.finished(other, signal);
        // One that waits for a person is at rest and still has what it took.
        await clock.sleep(waitMs, signal);
      }
    }
  }

  async #ended(id: string, signal: AbortSignal): Promise<LifecycleOperationOccurrence> {
    const { engine } = this.#parts;
    const ended = await engine.finished(id, signal);
    return ended.operationState === OperationState.FAILED_TEMP ? engine.fail(id) : ended;
  }
}

/** The operation that has what another one needs. */
function blockerOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof RpcError)) return undefined;
  const isBusy =
    isRpcError(thrown, 'OPERATION_IN_PROGRESS') || isRpcError(thrown, 'SNAPSHOT_IN_USE');
  return isBusy ? thrown.metadata.operation_id : undefined;
}

function failed({ id, operation, operationState, error }: LifecycleOperationOccurrence) {
  const what = `${OperationType[operation]} ${id} ended as ${OperationState[operationState]}`;
  return aborted(error?.reason || 'OPERATION_FAILED', `${what}: ${error?.detail ?? ''}`, {
    operation_id: id,
  });
}
