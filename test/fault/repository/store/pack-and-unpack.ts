/**
 * `node pack-and-unpack.ts IMAGE FOLDER`: packs, unpacks to FOLDER/out, and prints the peak memory
 * of this process.
 */
import { join } from 'node:path';
import { packFiles } from '../../../../app/store/pack.ts';
import { unpackFiles } from '../../../../app/store/unpack.ts';

const [image, folder] = process.argv.slice(2);
const store = join(folder!, 'repository');
const packed = await packFiles([image!], { store });
await unpackFiles(packed.package, { store, to: join(folder!, 'out') });
const maxRssMib = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(JSON.stringify({ maxRssMib, images: packed.images }));
