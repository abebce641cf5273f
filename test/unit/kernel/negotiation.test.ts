import test from 'ava';
import { Backoff } from '../../../kernel/plugins/backoff.ts';
import { negotiate, parseHandshakeLine } from '../../../kernel/plugins/negotiation.ts';
import { Code } from '../../../sdk/errors.ts';
import { callerOfCertificate } from '../../../sdk/transport/peer-identity.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

test('negotiate: the highest version that both speak is used', (t) => {
  t.is(negotiate('x', { min: 1, max: 3 }, { min: 2, max: 5 }), 3);
  t.is(negotiate('x', { min: 1, max: 1 }, { min: 1, max: 1 }), 1);
});

test('negotiate: without a common version it is told who has to be updated', async (t) => {
  const mismatch = { code: Code.FAILED_PRECONDITION, reason: 'API_VERSION_MISMATCH' };
  const newer = () => negotiate('x', { min: 1, max: 2 }, { min: 3, max: 4 });
  t.regex((await throwsRpc(t, newer, mismatch)).message, /1 to 2.*3 to 4: update the kernel/);
  const older = () => negotiate('x', { min: 3, max: 3 }, { min: 1, max: 2 });
  t.regex((await throwsRpc(t, older, mismatch)).message, /update the plugin/);
  await throwsRpc(t, () => negotiate('x', { min: 1, max: 1 }, { min: 2, max: 1 }), mismatch);
});

test('parseHandshakeLine: a good line gives the address', (t) => {
  t.is(parseHandshakeLine('x', '1|1|unix|/run/x.sock|grpc\r'), 'unix:/run/x.sock');
});

for (const line of [
  '',
  'hello world',
  '2|1|unix|/run/x.sock|grpc',
  '1|1|tcp|127.0.0.1:80|grpc',
  '1|1|unix|relative.sock|grpc',
  '1|1|unix|/run/x.sock|http',
]) {
  test(`parseHandshakeLine: ${JSON.stringify(line)} is refused`, async (t) => {
    await throwsRpc(t, () => parseHandshakeLine('x', line), {
      code: Code.FAILED_PRECONDITION,
      reason: 'HANDSHAKE_INVALID',
    });
  });
}

test('backoff: waits double up to the longest one and start anew after a reset', (t) => {
  const backoff = new Backoff(100, 500);
  t.deepEqual(
    [1, 2, 3, 4, 5].map(() => backoff.next()),
    [100, 200, 400, 500, 500],
  );
  t.is(backoff.attempts, 5);
  backoff.reset();
  t.is(backoff.next(), 100);
});

test('callerOfCertificate: the role and the name come from the URI', (t) => {
  const names = 'DNS:localhost, URI:urn:micromano:manager:site-1.example';
  t.deepEqual(callerOfCertificate(names), { role: 'manager', identity: 'site-1.example' });
});

test('callerOfCertificate: no name, two names and forged names give no caller', (t) => {
  for (const names of [
    undefined,
    'DNS:localhost',
    'DNS:urn:micromano:manager:a',
    'URI:urn:micromano:a:b, URI:urn:micromano:c:d',
    'URI:"urn:micromano:manager:a, URI:urn:micromano:boss:b"',
    'URI:urn:micromano:MANAGER:a',
    'URI:urn:micromano:manager:',
  ]) {
    t.is(callerOfCertificate(names), undefined);
  }
});
