import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { aborted } from '../../../sdk/errors.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';
import { componentStates } from './component-states.ts';

const lookEveryMs = 250;

/**
 * Waits until a VNF is well: all its components run and, when it ever told of its health, it has
 * said "ok" since. Returns what that is based on. ABORTED with reason VNF_NOT_RECOVERED.
 */
export async function awaitHealth(
  vnfm: Vnfm,
  { vnfInstanceId, recoveryMs }: { vnfInstanceId: string; recoveryMs: number },
  signal: AbortSignal,
): Promise<string> {
  const { clock, indicators, store } = vnfm;
  const sinceMs = clock.now().getTime();
  const untilMs = clock.monotonicMs() + recoveryMs;
  const tells = indicators.health(vnfInstanceId) !== undefined;
  for (;;) {
    const { value: vnf } = await requireRecord(store, vnfInstances, vnfInstanceId, unknownVnf);
    const states = await componentStates(vnfm, vnf, signal);
    const down = states.find(({ isUp }) => !isUp);
    const health = indicators.health(vnfInstanceId);
    const isFresh = health !== undefined && health.atMs > sinceMs;
    if (down === undefined && !tells) {
      return 'all components run; the VNF tells nothing of its health';
    }
    if (down === undefined && isFresh && health.value === 'ok') return 'the VNF says it is ok';
    if (clock.monotonicMs() >= untilMs) {
      const said = isFresh ? `it says it is ${health.value}: ${health.detail}` : 'it says nothing';
      const why = down ? `${down.vnfcInstanceId} is ${ComputeState[down.state]}` : said;
      const text = `VNF "${vnfInstanceId}" is not well after ${recoveryMs / 1000} s: ${why}`;
      throw aborted('VNF_NOT_RECOVERED', text, { vnf_instance_id: vnfInstanceId });
    }
    await clock.sleep(lookEveryMs, signal);
  }
}
