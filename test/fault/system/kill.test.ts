import test from 'ava';
import { findPoints, killAtEach } from '../../support/system/kill-chain.ts';
import { makeBase } from '../../support/system/procedures.ts';
import { SystemRig } from '../../support/system/system-rig.ts';

/** Sites that are killed and started in turns, side by side. */
const chains = 2;

for (let chain = 0; chain < chains; chain++) {
  test(`system: kill -9 at every step of the main job leaves all or nothing, part ${chain + 1} of ${chains}`, async (t) => {
    t.timeout(600_000);
    const rig = await SystemRig.open(t, 'wasmvm');
    const base = await makeBase(rig);
    const points = await findPoints(rig, base);
    const mine = points.filter((_, index) => index % chains === chain);
    t.log(`${mine.length} of ${points.length} points`);
    t.true(mine.length > 40, 'the points of the procedures were found');
    t.deepEqual(await killAtEach(rig, base, mine), []);
  });
}
