/** How an RpcError crosses a call: as a status with google.rpc details in a trailer. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema, anyIs, anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import { BadRequestSchema, ErrorInfoSchema } from '../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import { boundedMetadata, Code, errorDomain, RpcError } from './errors.ts';
import { CallMetadata } from './transport/metadata.ts';
import type { CallStatus } from './transport/transport.ts';

/** The trailer that carries a google.rpc.Status. */
export const statusDetailsKey = 'grpc-status-details-bin';

/** Trailers are HTTP/2 headers, and common clients refuse more than 8 KiB of them, encoded. */
const statusBytesMax = 4096;

/** What goes over the wire: always one ErrorInfo, then the other details as far as they fit. */
export function statusOf(error: RpcError): CallStatus {
  const { code, reason, message, violations } = error;
  const named = { reason, domain: errorDomain };
  const info = anyPack(
    ErrorInfoSchema,
    create(ErrorInfoSchema, { ...named, metadata: boundedMetadata(error.metadata) }),
  );
  const bare = anyPack(ErrorInfoSchema, create(ErrorInfoSchema, named));
  const others = error.details.map((detail) => create(AnySchema, detail));
  if (violations.length > 0) {
    const fieldViolations = [...violations];
    others.unshift(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  for (const details of [[info, ...others], [info], [bare]]) {
    const bytes = toBinary(StatusSchema, create(StatusSchema, { code, message, details }));
    if (bytes.length > statusBytesMax) continue;
    return { code, message, trailers: new CallMetadata().set(statusDetailsKey, bytes) };
  }
  return { code, message, trailers: new CallMetadata() };
}

/** The error of a call that ended with a status other than OK. */
export function errorOf(status: CallStatus): RpcError {
  const [name, code] = Object.entries(Code).find(([, value]) => value === status.code) ?? [
    'UNKNOWN',
    Code.UNKNOWN,
  ];
  const received = decodeDetails(status.trailers.getBytes(statusDetailsKey));
  const info = received
    .map((detail) => anyUnpack(detail, ErrorInfoSchema))
    .find((detail) => detail !== undefined);
  const violations = received
    .flatMap((detail) => anyUnpack(detail, BadRequestSchema)?.fieldViolations ?? [])
    .map(({ field, description }) => ({ field, description }));
  const details = received.filter(
    (detail) => !anyIs(detail, ErrorInfoSchema) && !anyIs(detail, BadRequestSchema),
  );
  // A peer without details (a proxy, the transport itself) still gives a reason: its code's name.
  const reason = info?.reason || name;
  return new RpcError(code, reason, status.message, info?.metadata, { violations, details });
}

function decodeDetails(bytes: Uint8Array | undefined): Any[] {
  if (!bytes) return [];
  try {
    return fromBinary(StatusSchema, bytes).details;
  } catch {
    // The peer's trailer is not a google.rpc.Status: the code and message it came with still hold.
    return [];
  }
}
