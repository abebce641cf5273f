import { clone } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import {
  type VnfIndicator,
  VnfIndicatorSchema,
} from '../../../gen/nfv/vnf_indicator/v1/vnf_indicator_pb.js';
import { invalidArgument, resourceExhausted } from '../../../sdk/errors.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';

/** Indicators of one VNF. */
const indicatorsMax = 32;

/** The indicator that the VNFM understands, and its values. */
export const healthId = 'health';
const healths = ['ok', 'degraded', 'failed'] as const;
export type Health = (typeof healths)[number];

/** What the VNFs say of themselves; in memory, because only the present counts. */
export class Indicators {
  readonly #clock: Clock;
  readonly #ofVnf = new Map<string, Map<string, VnfIndicator>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** INVALID_ARGUMENT, INDICATOR_INVALID; RESOURCE_EXHAUSTED, TOO_MANY_INDICATORS. */
  report(vnfInstanceId: string, indicator: VnfIndicator): void {
    const { id, value } = indicator;
    if (id === healthId && !(healths as readonly string[]).includes(value)) {
      const text = `indicator "${healthId}" is one of ${healths.join(', ')}, not "${value}"`;
      throw invalidArgument('INDICATOR_INVALID', text, { indicator: id }, [
        { field: 'vnf_indicator.value', description: `must be one of ${healths.join(', ')}` },
      ]);
    }
    const known = this.#ofVnf.get(vnfInstanceId) ?? new Map<string, VnfIndicator>();
    if (!known.has(id) && known.size >= indicatorsMax) {
      const text = `VNF "${vnfInstanceId}" has ${indicatorsMax} indicators already`;
      throw resourceExhausted('TOO_MANY_INDICATORS', text, { limit: String(indicatorsMax) });
    }
    const kept = clone(VnfIndicatorSchema, indicator);
    kept.reportTime = timestampFromMs(Math.round(this.#clock.now().getTime()));
    this.#ofVnf.set(vnfInstanceId, known.set(id, kept));
  }

  /** By id. */
  of(vnfInstanceId: string): VnfIndicator[] {
    const known = [...(this.#ofVnf.get(vnfInstanceId)?.values() ?? [])];
    return known.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** What a VNF said of its health last, and when; undefined when it never did. */
  health(vnfInstanceId: string): { value: Health; detail: string; atMs: number } | undefined {
    const found = this.#ofVnf.get(vnfInstanceId)?.get(healthId);
    if (found === undefined) return undefined;
    const atMs = found.reportTime ? timestampMs(found.reportTime) : 0;
    return { value: found.value as Health, detail: found.detail, atMs };
  }

  /** The VNF is gone. */
  forget(vnfInstanceId: string): void {
    this.#ofVnf.delete(vnfInstanceId);
  }
}
