import test from 'ava';
import { chosen } from '../../../bench/bench.ts';
import { allCases } from '../../../bench/cases/all.ts';
import { parseTime } from '../../../bench/measure.ts';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const disk = {
  title: 'disk',
  before: '/before',
  after: '/after',
};
const images = {
  first: '/first',
  firstCopy: '/copy',
  next: '/next',
  memory: '/memory',
  sparse: '/sparse',
  incompressible: '/noise',
  changedMap: '/map',
  emptyMap: '/empty',
  sizes: { small: disk, large: disk, changedMap: '/map', emptyMap: '/empty' },
};

test('allCases: without a second image there is no increment with changes, nor what is made', (t) => {
  const { first, firstCopy, changedMap, emptyMap } = images;
  const ids = allCases({ first, firstCopy, changedMap, emptyMap }).map(({ id }) => id);
  t.deepEqual(ids, ['full', 'no-change', 'restore', 'verify']);
});

test('allCases: each case begins with ours, its ids are unique, and results are compared', (t) => {
  for (const { id, contenders } of allCases(images)) {
    t.true(contenders[0]!.isOurs, id);
    t.is(new Set(contenders.map((item) => item.id)).size, contenders.length, id);
    const compared = contenders.filter(({ compare }) => compare !== undefined);
    const made = contenders.filter(({ isLimit }) => !isLimit);
    t.is(compared.length, id === 'verify' ? 0 : made.length, id);
  }
});

test('chosen: peers are chosen by name, ours and the limits stay', (t) => {
  const [full, ...others] = chosen(allCases(images), { cases: ['full'], peers: ['lz4'] });
  t.is(others.length, 0);
  const peers = full!.contenders.filter(({ isOurs, isLimit }) => !isOurs && !isLimit);
  t.deepEqual(
    peers.map(({ id }) => id),
    ['lz4'],
  );
  t.true(full!.contenders.some(({ isLimit }) => isLimit));
  t.true(full!.contenders.length > 3);
});

test('chosen: an unknown case or peer is refused and the known ones are named', async (t) => {
  const ask = (cases?: string[], peers?: string[]) => () =>
    chosen(allCases(images), { ...(cases && { cases }), ...(peers && { peers }) });
  const code = Code.INVALID_ARGUMENT;
  const error = await throwsRpc(t, ask(['ful']), { code, reason: 'CASE_UNKNOWN' });
  t.true(error.message.includes('full, incremental'));
  await throwsRpc(t, ask(undefined, ['lz5']), { code, reason: 'PEER_UNKNOWN' });
});

test('parseTime: the last line, after what GNU time says of an exit code', (t) => {
  t.deepEqual(parseTime('Command exited with non-zero status 1\n0.25 0.50 2048\n'), {
    cpuSeconds: 0.75,
    peakBytes: 2048 * 1024,
  });
  t.throws(() => parseTime('no figures'), { instanceOf: TypeError });
});
