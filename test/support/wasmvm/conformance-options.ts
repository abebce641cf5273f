import type { ConformanceOptions } from '../../conformance/driver/profile.ts';

const disks = [{ name: 'data', sizeBytes: 8n * 1024n * 1024n }];

/** What the conformance kit has to know of wasmvm. */
export const wasmvmGuests: ConformanceOptions['guests'] = {
  gateway: { image: 'gateway.wasm', disks },
  database: { image: 'database.wasm', disks },
};
/** A running guest answers within a few ticks. */
export const wasmvmSilenceMs = 400;
