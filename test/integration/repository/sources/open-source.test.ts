import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import {
  type ImageFormat,
  openSource,
} from '../../../../plugins/repository/sources/open-source.ts';
import { createQcow2 } from '../../../../plugins/repository/targets/qcow2.ts';
import { Code } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { equal, readByExtents } from './images.ts';

async function qcow2Image(folder: string): Promise<string> {
  const path = join(folder, 'image');
  const target = await createQcow2(path, 3 * 65536);
  await target.write(65536, new Uint8Array(65536).fill(4));
  await target.finish();
  return path;
}

test('openSource: a raw disk that a guest made look like qcow2 is raw when the caller says so', async (t) => {
  const path = await qcow2Image(await tempFolder(t));
  const { source, format, probed } = await openSource(path, { format: 'raw' });
  t.teardown(() => source.close());
  t.deepEqual({ format, probed }, { format: 'raw', probed: false });
  t.true(equal(await readByExtents(source), await readFile(path)));
});

test('openSource: without a format the first bytes decide, and the result says so', async (t) => {
  const folder = await tempFolder(t);
  const path = await qcow2Image(folder);
  const opened = await openSource(path);
  t.teardown(() => opened.source.close());
  t.deepEqual({ format: opened.format, probed: opened.probed }, { format: 'qcow2', probed: true });
  t.is(opened.source.sizeBytes, 3 * 65536);
  for (const bytes of ['', 'abc', 'any other bytes']) {
    await writeFile(join(folder, 'raw'), bytes);
    const raw = await openSource(join(folder, 'raw'));
    t.is(raw.format, 'raw');
    t.is(raw.source.sizeBytes, bytes.length);
    await raw.source.close();
  }
  await writeFile(join(folder, 'lz4'), Buffer.from('04224d1860408200000000', 'hex'));
  const lz4 = await openSource(join(folder, 'lz4'));
  t.is(lz4.format, 'raw.lz4');
  await lz4.source.close();
});

test('openSource: a format that is not what the file is, or is unknown, is refused', async (t) => {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'raw'), 'raw bytes, nothing else');
  const open = (format: string) =>
    openSource(join(folder, 'raw'), { format: format as ImageFormat });
  const code = Code.INVALID_ARGUMENT;
  await throwsRpc(t, () => open('qcow2'), { code, reason: 'SOURCE_NOT_QCOW2' });
  await throwsRpc(t, () => open('raw.lz4'), { code, reason: 'SOURCE_NOT_LZ4' });
  await throwsRpc(t, () => open('vmdk'), { code, reason: 'SOURCE_FORMAT_UNKNOWN' });
});
