import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { ScratchFile } from '../../../../plugins/repository/nbd-server/scratch-file.ts';
import { formatFramed } from '../../../../plugins/repository/store/framed-text.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { editJson, jsonEdits } from '../../mutate-json.ts';
import { mutate, mutationsIn } from '../sources/mutate.ts';

const block = 65536;
const logicalBytes = 3 * block + 5;
const base = { packageId: 'p', image: 'disk', root: 'ab'.repeat(32), logicalBytes };
const reasons = ['OBJECT_DAMAGED', 'FORMAT_TOO_NEW', 'SCRATCH_FOREIGN', 'SCRATCH_DAMAGED'];

/** Reads everything that the file says it has; true when something was refused. */
async function isRefused(path: string): Promise<boolean> {
  try {
    const file = await ScratchFile.kept(path, base);
    try {
      for (let number = 0; number < 4; number++) {
        const state = await file.map.state(number);
        if (state > 2) throw new Error(`state ${state}`);
        await file.readData(number * block, new Uint8Array(5));
      }
    } finally {
      await file.close();
    }
    return false;
  } catch (error) {
    if (reasons.some((reason) => isRpcError(error, reason))) return true;
    throw error;
  }
}

test('scratch file: with bytes changed or cut off it is read within its bounds or refused', async (t) => {
  const path = join(await tempFolder(t), 'scratch');
  await (await ScratchFile.kept(path, base)).close();
  const valid = await readFile(path);
  let refused = 0;
  const places = mutationsIn([0, 300], [block, block + 8]);
  const lengths = fc.option(fc.nat(valid.length), { freq: 3, nil: valid.length });
  const bytes = fc.asyncProperty(places, lengths, async (changes, length) => {
    await writeFile(path, mutate(valid, changes).subarray(0, length));
    refused += Number(await isRefused(path));
  });
  await fc.assert(bytes, { seed, numRuns: 200 });
  const header = fc.asyncProperty(jsonEdits, async (edits) => {
    const text = formatFramed('scratch', editJson({ ...base, blockSize: block }, edits));
    if (text.length > block) return;
    const file = Buffer.from(valid);
    file.fill(0, 0, block).set(text);
    await writeFile(path, file);
    refused += Number(await isRefused(path));
  });
  await fc.assert(header, { seed, numRuns: 200 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 100 && refused < 400);
});
