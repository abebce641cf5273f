import { VnfIndicatorService } from '../../../gen/nfv/vnf_indicator/v1/vnf_indicator_pb.js';
import { implement } from '../../../sdk/server.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';

/** What VNFs say of themselves (ETSI GS NFV-SOL 003 clause 8). */
export function indicatorService({ store, indicators, logger }: Vnfm) {
  const exists = (id: string) => requireRecord(store, vnfInstances, id, unknownVnf);
  return implement(
    VnfIndicatorService,
    {
      notifyVnfIndicatorValueChange: async ({ vnfInstanceId, vnfIndicator }) => {
        await exists(vnfInstanceId);
        indicators.report(vnfInstanceId, vnfIndicator!);
        return {};
      },
      queryVnfIndicators: async ({ vnfInstanceId }) => {
        await exists(vnfInstanceId);
        return { vnfIndicators: indicators.of(vnfInstanceId) };
      },
    },
    { logger },
  );
}
