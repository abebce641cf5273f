import test from 'ava';
import { Code as GoogleCode } from '../../../gen/google/rpc/code_pb.js';
import { errorOf, statusOf } from '../../../sdk/error-status.ts';
import {
  aborted,
  Code,
  failedPrecondition,
  invalidArgument,
  isRpcError,
  RpcError,
} from '../../../sdk/errors.ts';
import { CallMetadata } from '../../../sdk/transport/metadata.ts';

test('errors: code, reason, message, metadata and details survive the wire', (t) => {
  const violations = [{ field: 'a.b', description: 'is required' }];
  const sent = invalidArgument('FIELD_VIOLATION', 'a.b: is required', { field: 'a.b' }, violations);
  const received = errorOf(statusOf(sent));
  t.is(received.code, Code.INVALID_ARGUMENT);
  t.is(received.reason, 'FIELD_VIOLATION');
  t.is(received.message, 'a.b: is required');
  t.deepEqual(received.metadata, { field: 'a.b' });
  t.deepEqual(received.violations, violations);
});

test('errors: an unknown exception becomes INTERNAL and keeps its text to itself', (t) => {
  const cause = new Error('the password is 1234');
  const error = RpcError.from(cause);
  t.is(error.code, Code.INTERNAL);
  t.false(error.message.includes('1234'));
  t.is(error.cause, cause);
});

test('errors: an RpcError goes through the funnel as it is', (t) => {
  const error = aborted('ETAG_MISMATCH', 'changed');
  t.is(RpcError.from(error), error);
});

test('errors: aborts become CANCELLED and timeouts DEADLINE_EXCEEDED', (t) => {
  t.is(RpcError.from(new DOMException('x', 'AbortError')).code, Code.CANCELLED);
  t.is(RpcError.from(new DOMException('x', 'TimeoutError')).code, Code.DEADLINE_EXCEEDED);
});

test('errors: a peer without details still gives a reason, the name of its code', (t) => {
  const error = errorOf({ code: 14, message: 'gone', trailers: new CallMetadata() });
  t.is(error.reason, 'UNAVAILABLE');
});

test('errors: details that do not parse leave code and message', (t) => {
  const trailers = new CallMetadata().set('grpc-status-details-bin', new Uint8Array([255, 255]));
  const error = errorOf({ code: 5, message: 'no', trailers });
  t.is(error.code, Code.NOT_FOUND);
  t.is(error.message, 'no');
});

test('errors: trailers stay below 8 KiB however much the error says', (t) => {
  const metadata = Object.fromEntries(
    Array.from({ length: 100 }, (_, index) => [`key_${index}`, 'x'.repeat(5000)]),
  );
  const violations = Array.from({ length: 500 }, (_, index) => ({
    field: `field_${index}`,
    description: 'y'.repeat(1000),
  }));
  const status = statusOf(invalidArgument('TOO_MUCH', 'z'.repeat(50_000), metadata, violations));
  const details = status.trailers.getBytes('grpc-status-details-bin');
  t.true(details !== undefined && (details.length * 4) / 3 + status.message.length < 8 * 1024);
  t.is(errorOf(status).reason, 'TOO_MUCH');
});

test('errors: a message with a lone surrogate can be sent', (t) => {
  const error = failedPrecondition('ODD_NAME', 'the name \ud800 is odd');
  t.notThrows(() => encodeURI(statusOf(error).message));
});

test('isRpcError: tells by code and by reason', (t) => {
  const error = aborted('ETAG_MISMATCH', 'changed');
  t.true(isRpcError(error, Code.ABORTED));
  t.true(isRpcError(error, 'ETAG_MISMATCH'));
  t.false(isRpcError(error, Code.INTERNAL));
  t.false(isRpcError(new Error('x')));
});

test('Code: is google.rpc.Code', (t) => {
  const generated = Object.entries(GoogleCode).filter(([name]) => Number.isNaN(Number(name)));
  t.deepEqual(Object.fromEntries(generated), Code);
});

test('errors: a detail of a peer that nobody knows is passed on as it came', (t) => {
  const odd = { typeUrl: 'type.googleapis.com/other.Detail', value: Uint8Array.of(10, 1, 65) };
  const sent = new RpcError(Code.ABORTED, 'ODD', 'odd', {}, { details: [odd] });
  const [received] = errorOf(statusOf(errorOf(statusOf(sent)))).details;
  t.is(received?.typeUrl, odd.typeUrl);
  t.deepEqual(received?.value, odd.value);
});
