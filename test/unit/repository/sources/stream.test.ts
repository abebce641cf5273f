import test from 'ava';
import {
  PieceReader,
  type StreamPiece,
  StreamSource,
} from '../../../../plugins/repository/sources/stream.ts';
import { temporaryStore } from '../store/support.ts';

const mib = 2 ** 20;
const sizeBytes = 256 * mib;
/** 8 runs of 4 MiB that are read or stored, two that are planned, and a piece. */
const aheadBytesMax = 42 * mib;

for (const pieceBytes of [mib, 100_001]) {
  test(`a stream in pieces of ${pieceBytes} bytes is taken no faster than the store works`, async (t) => {
    const store = await temporaryStore(t);
    const content = Buffer.alloc(pieceBytes, 'some text that repeats itself ');
    let taken = 0;
    let done = 0;
    let ahead = 0;
    const next = async (): Promise<StreamPiece | undefined> => {
      if (taken === sizeBytes) return undefined;
      const piece = content.subarray(0, Math.min(pieceBytes, sizeBytes - taken));
      const offset = BigInt(taken);
      taken += piece.length;
      ahead = Math.max(ahead, taken - done);
      return { image: 0, offset, content: piece };
    };
    const image = { name: 'd', sizeBytes, index: 0, isLast: true };
    const source = new StreamSource(new PieceReader(next), image);
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      done = doneBytes;
    };
    await store.pack([{ name: 'd', source }], { packageId: 'p', resume: false, onProgress });
    t.is(done, sizeBytes);
    t.true(ahead >= 4 * mib && ahead <= aheadBytesMax, `${ahead / mib} MiB ahead`);
  });
}
