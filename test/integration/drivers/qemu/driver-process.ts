/**
 * A driver in a process of its own, for tests that kill it. usage: driver-process.ts DATA_FOLDER
 * CALLS CALLS is JSON, [[method, request], …]; prints the JSON of each response on a line of its
 * own, then "done", and lives on. `$lease` in a request is the lease of the last call that gave
 * one. NFV_FAILPOINTS says where it dies.
 */
import { type DescMessage, fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import { DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { startDriver } from './lab.ts';

const [folder, calls] = process.argv.slice(2);
const driver = await startDriver(folder!);
let lease = '';
for (const [name, request] of JSON.parse(calls!) as [string, JsonValue][]) {
  const method = DriverService.methods.find(({ localName }) => localName === name)!;
  const filled = JSON.parse(JSON.stringify(request).replaceAll('$lease', lease));
  const call = (driver.client as unknown as Record<string, (init: unknown) => Promise<never>>)[
    name
  ]!;
  const response = await call(fromJson(method.input as DescMessage, filled));
  const json = toJson(method.output, response) as { lease?: { leaseId?: string } };
  lease = json.lease?.leaseId ?? lease;
  console.log(JSON.stringify(json));
}
console.log('done');
setInterval(() => {}, 60_000);
