import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { openDevelopmentCa } from '../../../../kernel/identity/development-ca.ts';
import {
  formatImageIndex,
  parseImageIndex,
} from '../../../../plugins/repository/archive/image-index.ts';
import { checkSignature, signManifest } from '../../../../plugins/repository/archive/signature.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import { systemClock } from '../../../../sdk/ports/clock.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { editJson, jsonEdits } from '../../mutate-json.ts';
import { mutate, mutationsIn } from '../sources/mutate.ts';

test('image index: what is written is read; with parts changed it is read or refused', (t) => {
  const images = [
    {
      name: 'disk',
      sizeBytes: 7,
      root: 'ab'.repeat(32),
      attributes: { role: 'disk' },
      file: 'images/disk.raw.lz4',
      format: 'raw.lz4' as const,
    },
  ];
  t.deepEqual(parseImageIndex(formatImageIndex(images)), images);
  let refused = 0;
  const property = fc.property(jsonEdits, (edits) => {
    try {
      parseImageIndex(Buffer.from(JSON.stringify(editJson({ version: 1, images }, edits))));
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      refused += 1;
    }
  });
  fc.assert(property, { seed, numRuns: 1000 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 500 && refused < 1000);
});

test('signature: with bytes changed it is refused, or is believed for the same content alone', async (t) => {
  const folder = join(await tempFolder(t), 'pki');
  const ca = await openDevelopmentCa({ folder, roles: ['signer'], clock: systemClock });
  const { ca: authority, certificate, key } = await ca.client('signer');
  const content = Buffer.from('a manifest\n');
  const pem = await signManifest(content, { certificate, privateKey: key }, new Date(0));
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64');
  const trust = { authorities: [authority] };
  t.is((await checkSignature(content, der, 'x.mf', trust)).trusted, true);
  let refused = 0;
  const property = fc.asyncProperty(
    mutationsIn([0, 60], [0, der.length]),
    fc.nat(der.length),
    async (changes, cut) => {
      const mutant = mutate(der, changes).subarray(0, cut % 5 === 0 ? cut : der.length);
      try {
        await checkSignature(content, mutant, 'x.mf', trust);
        const other = checkSignature(Buffer.from('another manifest\n'), mutant, 'x.mf', trust);
        await t.throwsAsync(other, { instanceOf: RpcError });
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        refused += 1;
      }
    },
  );
  await fc.assert(property, { seed, numRuns: 300 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 150);
});
