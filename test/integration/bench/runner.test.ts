import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Runner } from '../../../bench/runner.ts';
import type { Case, Contender } from '../../../bench/types.ts';
import { Code } from '../../../sdk/errors.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const copier: Contender = {
  id: 'copier',
  title: 'cp',
  isOurs: true,
  needs: [],
  run: 'cp "$IMAGE" "$W/out"',
  unpack: 'mkdir "$W/back"; cp "$W/out" "$W/back/image"',
};

async function rig(t: ExecutionContext, rounds: number, contenders: Contender[]) {
  const folder = await tempFolder(t);
  const image = join(folder, 'image');
  await writeFile(image, Buffer.alloc(300_000, 'content'));
  const item: Case = {
    id: 'case',
    title: 'Case',
    variables: { IMAGE: image },
    reads: [image],
    contenders: contenders.map((contender) => ({
      ...contender,
      ...(contender.unpack && { compare: { restored: 'back/image', original: image } }),
    })),
  };
  const interrupt = new AbortController();
  const runner = new Runner({
    folder: join(folder, 'work'),
    rounds,
    variables: {},
    missing: new Map([['nothing-like-it', 'not installed']]),
    hasQemuImg: false,
    print: () => {},
    signal: interrupt.signal,
  });
  return { run: () => runner.run(item), interrupt };
}

test('Runner: each has as many turns as it may, and stored bytes are those of the package', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const slow = { ...copier, id: 'slow', isOurs: false, roundsMax: 1 };
  const { run } = await rig(t, 3, [copier, slow]);
  const { contenders } = await run();
  t.deepEqual(
    contenders.map(({ id, runs }) => [id, runs.length]),
    [
      ['copier', 3],
      ['slow', 1],
    ],
  );
  t.is(contenders[0]!.summary.storedBytes.median, 300_000);
  t.true(contenders[0]!.summary.wallSeconds.min > 0);
  t.true(contenders[0]!.summary.peakBytes.min > 100_000);
});

test('Runner: a base is made once, and every round begins with a fresh copy of it', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const appender: Contender = {
    ...copier,
    base: { key: 'base', script: 'echo made >>"$W/base"' },
    run: 'echo round >>"$W/base"; [ "$(wc -l <"$W/base")" = 2 ]; cp "$IMAGE" "$W/out"',
  };
  const { run } = await rig(t, 3, [appender]);
  t.is((await run()).contenders[0]!.summary.storedBytes.median, 300_000 + 'round\n'.length);
});

test('Runner: a result that differs in one byte ends the run', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const liar = { ...copier, unpack: `${copier.unpack}; printf X >>"$W/back/image"` };
  const flipped = {
    ...copier,
    unpack: `${copier.unpack}; printf X | dd of="$W/back/image" conv=notrunc bs=1 seek=299999 status=none`,
  };
  for (const wrong of [liar, flipped]) {
    const { run } = await rig(t, 1, [copier, wrong]);
    await throwsRpc(t, run, { code: Code.DATA_LOSS, reason: 'BENCH_RESULT_WRONG' });
  }
});

test('Runner: a script that fails is named with what it printed', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const { run } = await rig(t, 1, [{ ...copier, run: 'echo the reason >&2; exit 3' }]);
  const expected = { code: Code.INTERNAL, reason: 'BENCH_SCRIPT_FAILED' };
  const { message } = await throwsRpc(t, run, expected);
  t.true(message.includes('the reason') && message.includes('ended with 3'), message);
});

test('Runner: who needs what is missing is left out with the reason, and the others run', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const lacking = { ...copier, id: 'lacking', title: 'a tool', needs: ['nothing-like-it'] };
  const { run } = await rig(t, 1, [copier, lacking]);
  const { contenders, leftOut } = await run();
  t.is(contenders.length, 1);
  const reason = 'nothing-like-it: not installed';
  t.deepEqual(leftOut, [{ id: 'lacking', title: 'a tool', reason }]);
});

test('Runner: an interrupt ends the script of the moment and the run', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const { run, interrupt } = await rig(t, 1, [{ ...copier, run: 'sleep 60' }]);
  const from = performance.now();
  setTimeout(() => interrupt.abort(), 200);
  await t.throwsAsync(run, { name: 'AbortError' });
  t.true(performance.now() - from < 30_000);
});
