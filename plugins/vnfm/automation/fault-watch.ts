import { create } from '@bufbuild/protobuf';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  InstantiationState,
  SnapshotPurpose,
  type VnfInstance,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { CreateVnfSnapshotRequestSchema } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { jsonCollection } from '../../../sdk/records/record-store.ts';
import { vnfInstances } from '../records.ts';
import { readAll } from '../services/listing.ts';
import type { Vnfm } from '../vnfm.ts';
import { type ComponentState, componentStates } from './component-states.ts';
import { consistencyOfUnwell } from './diagnosis.ts';
import { Repeated } from './repeated.ts';

/** A fault that a snapshot was asked for, by VNF instance; gone when no component is at fault. */
type Episode = { failed: string[]; requestId: string; started: boolean };

const episodes = jsonCollection<Episode>('fault-episodes');
/** How often it looks: a snapshot is late by this at most. */
const lookEveryMs = 2_000;

/**
 * Clause 4.2.1: takes a snapshot for root cause analysis, by itself, of a VNF whose descriptor wants
 * it (`automation.onFault`), once the VIM says that a component has failed and the VNF says that it
 * is not well. One for each fault, also when this process is killed in between.
 */
export function faultWatch(vnfm: Vnfm): Repeated {
  const watch = new FaultWatch(vnfm);
  return new Repeated(vnfm.clock, lookEveryMs, (signal) => watch.look(signal));
}

class FaultWatch {
  readonly #vnfm: Vnfm;
  /** What was logged last for a VNF, so that it is not logged every two seconds. */
  readonly #told = new Map<string, string>();

  constructor(vnfm: Vnfm) {
    this.#vnfm = vnfm;
  }

  async look(signal: AbortSignal): Promise<void> {
    const { store, logger } = this.#vnfm;
    try {
      const vnfs = (await readAll(store, vnfInstances)).filter(isWatched);
      for (const vnf of vnfs) await this.#lookAt(vnf, signal);
    } catch (error) {
      if (!signal.aborted) logger.error('faults cannot be watched', { error });
    }
  }

  async #lookAt(vnf: VnfInstance, signal: AbortSignal): Promise<void> {
    const { store } = this.#vnfm;
    try {
      const states = await componentStates(this.#vnfm, vnf, signal);
      const failed = states.filter(({ state }) => state === ComputeState.FAILED);
      if (failed.length === 0) {
        const episode = await store.collection(episodes).get(vnf.id);
        if (episode !== undefined) await store.collection(episodes).delete(vnf.id);
        this.#told.delete(vnf.id);
        return;
      }
      const health = this.#vnfm.indicators.health(vnf.id);
      if (health === undefined || health.value === 'ok') return;
      await this.#takeOnce(vnf, failed, signal);
    } catch (error) {
      if (signal.aborted || this.#told.get(vnf.id) === `${error}`) return;
      this.#told.set(vnf.id, `${error}`);
      this.#vnfm.logger.warn('no snapshot of a fault yet', { vnf: vnf.id, error });
    }
  }

  async #takeOnce(
    vnf: VnfInstance,
    states: readonly ComponentState[],
    signal: AbortSignal,
  ): Promise<void> {
    const { store, random, own, logger } = this.#vnfm;
    const failed = states.map(({ vnfcInstanceId }) => vnfcInstanceId);
    const known = (await store.collection(episodes).get(vnf.id))?.value;
    const isSame = known !== undefined && failed.every((id) => known.failed.includes(id));
    if (isSame && known.started) return;
    // The intent first: after a crash the same request finds the operation that it started.
    const episode = isSame
      ? known
      : { failed, requestId: `fault/${random.uuid()}`, started: false };
    await store.collection(episodes).put(vnf.id, episode);
    const why = states
      .map(({ vnfcInstanceId, reason }) => `${vnfcInstanceId}: ${reason}`)
      .join('; ');
    const id = await own.start(episode.requestId, signal, (lcm, requestId, call) =>
      lcm.createVnfSnapshot(
        create(CreateVnfSnapshotRequestSchema, {
          vnfInstanceId: vnf.id,
          name: 'fault',
          purpose: SnapshotPurpose.POST_MORTEM,
          // What has failed may not be able to answer.
          consistency: consistencyOfUnwell(vnf.vnfd),
          userDefinedData: { fault: why },
          requestId,
        }),
        call,
      ),
    );
    await store.collection(episodes).put(vnf.id, { ...episode, started: true });
    logger.info('a fault is being captured', { vnf: vnf.id, failed, operation: id });
  }
}

function isWatched({ instantiationState, operationInProgress, vnfd }: VnfInstance): boolean {
  return (
    instantiationState === InstantiationState.INSTANTIATED &&
    operationInProgress === '' &&
    vnfd?.snapshotDescriptor?.automation?.onFault === true
  );
}
