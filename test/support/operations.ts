import { join } from 'node:path';
import type { JsonValue } from '@bufbuild/protobuf';
import type { ExecutionContext } from 'ava';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
  StepState,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  type EngineOptions,
  type OperationDefinition,
  OperationEngine,
  type PlanItem,
  type Step,
} from '../../sdk/operations/engine.ts';
import type { RecordStore } from '../../sdk/records/record-store.ts';
import { openSqliteStore } from '../../sdk/records/sqlite-store.ts';
import { tempFolder } from './temp-folder.ts';

/** A world that steps change, with a log of what was done to it. */
export class World {
  readonly log: string[] = [];
  readonly effects = new Set<string>();
  /** Errors to throw, by "run name" or "undo name"; taken once. */
  readonly faults = new Map<string, Error>();

  /** A step that adds its name to the effects, with a compensation that takes it away. */
  step(name: string, more: Partial<Step> = {}): Step {
    return {
      name,
      clause: 'Micromano',
      caller: 'vnfm',
      callee: 'vim',
      run: async (context) => {
        this.#say(`run ${name}${context.resumed ? ' again' : ''}`, `run ${name}`);
        this.effects.add(name);
        return { by: name };
      },
      compensate: async () => {
        this.#say(`undo ${name}`, `undo ${name}`);
        this.effects.delete(name);
      },
      ...more,
    };
  }

  /** A step that lets holds go. */
  release(name: string, holds: readonly string[]): Step {
    const { compensate: _, ...step } = this.step(name, { always: true, releases: holds });
    return {
      ...step,
      run: async () => {
        this.#say(`run ${name}`, `run ${name}`);
        for (const hold of holds) this.effects.delete(hold);
      },
    };
  }

  #say(text: string, key: string): void {
    this.log.push(text);
    const fault = this.faults.get(key);
    if (fault === undefined) return;
    this.faults.delete(key);
    this.log.push(`fault ${key}`);
    throw fault;
  }
}

/** A definition around a plan. */
export function define(
  plan: (input: JsonValue) => PlanItem[],
  more: Partial<OperationDefinition> = {},
): OperationDefinition {
  return {
    name: 'test',
    operation: OperationType.CREATE_SNAPSHOT,
    onFailure: 'rollback',
    plan,
    ...more,
  };
}

/** A store in a folder of its own. */
export async function openStore(t: ExecutionContext): Promise<RecordStore> {
  const store = openSqliteStore({ path: join(await tempFolder(t), 'state.db') });
  t.teardown(() => store.close());
  return store;
}

/** A started engine, stopped when the test ends. */
export async function startEngine(
  t: ExecutionContext,
  store: RecordStore,
  definitions: readonly OperationDefinition[],
  more: Partial<EngineOptions> = {},
): Promise<OperationEngine> {
  const engine = new OperationEngine({ store, definitions, ...more });
  t.teardown(() => engine.stop());
  await engine.start();
  return engine;
}

/** The states of an occurrence by name: the operation's, then "step: state". */
export function statesOf(occurrence: LifecycleOperationOccurrence): {
  state: string;
  steps: Record<string, string>;
} {
  return {
    state: OperationState[occurrence.operationState],
    steps: Object.fromEntries(occurrence.steps.map((s) => [s.name, StepState[s.state]])),
  };
}

/** A promise and its ends. */
export function gate(): { promise: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, open: () => resolve() };
}
