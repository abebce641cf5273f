import { create, createRegistry } from '@bufbuild/protobuf';
import test from 'ava';
import { createLogger } from '../../../sdk/ports/logger.ts';
import { redactMessage } from '../../../sdk/redact.ts';
import { echoDesc } from '../../support/echo-service.ts';

const { message: schema } = echoDesc();
const secretMessage = create(schema, {
  text: 'visible',
  password: 'hunter2',
  data: new Uint8Array(10),
  nested: { password: 'hunter3', count: 4 },
});

test('redactMessage: secrets are replaced at every depth, the rest stays', (t) => {
  t.deepEqual(redactMessage(schema, secretMessage), {
    text: 'visible',
    data: '(10 bytes)',
    nested: { count: 4, password: '(redacted)' },
    password: '(redacted)',
  });
});

function logged(registry = createRegistry(schema)) {
  const lines: string[] = [];
  const logger = createLogger({ registry, write: (line) => lines.push(line) });
  return { lines, logger };
}

test('logger: the secrets of a logged message are redacted', (t) => {
  const { lines, logger } = logged();
  logger.info('got it', { request: secretMessage });
  t.false(lines[0]?.includes('hunter'));
  t.true(lines[0]?.includes('visible'));
});

test('logger: a message whose descriptor is unknown is not printed', (t) => {
  const { lines, logger } = logged(createRegistry());
  logger.info('got it', { request: secretMessage });
  t.false(lines[0]?.includes('hunter'));
  t.false(lines[0]?.includes('visible'));
});

test('logger: plain fields with the name of a secret are redacted', (t) => {
  const { lines, logger } = logged();
  logger.info('connect', { options: { userName: 'me', password: 'hunter2', apiToken: 'hunter3' } });
  t.false(lines[0]?.includes('hunter'));
  t.true(lines[0]?.includes('"userName":"me"'));
});

test('logger: lines below the level are dropped, and a child adds its fields', (t) => {
  const { lines, logger } = logged();
  logger.debug('nothing');
  logger.child({ plugin: 'echo' }).warn('something', { error: new Error('oops') });
  t.is(lines.length, 1);
  const line = JSON.parse(lines[0] ?? '{}');
  t.is(line.plugin, 'echo');
  t.is(line.level, 'warn');
  t.regex(line.error, /oops/);
});
