import test from 'ava';
import { localCore, localSlot } from '../../../wasm/host/local-core.ts';

const blockSize = 65536;

// A single byte that differs, at each position that the vector loop treats in its own way.
const positions = [0, 1, 15, 16, 63, 64, 127, 128, 32_767, 65_408, 65_535];

test('isZero: a block of zeros is zero, whatever follows it', (t) => {
  const core = localCore();
  core.bytes.fill(0, localSlot.input, localSlot.input + blockSize);
  core.bytes[localSlot.input + blockSize] = 1;
  t.is(core.exports.isZero(localSlot.input, blockSize), 1);
});

test('isZero: one byte anywhere makes a block non-zero', (t) => {
  const core = localCore();
  for (const position of positions) {
    core.bytes.fill(0, localSlot.input, localSlot.input + blockSize);
    core.bytes[localSlot.input + position] = 0x80;
    t.is(core.exports.isZero(localSlot.input, blockSize), 0, `at ${position}`);
  }
});

test('isEqual: equal blocks are equal and one byte anywhere makes them differ', (t) => {
  const core = localCore();
  const { input, output } = localSlot;
  for (let i = 0; i < blockSize; i++) core.bytes[input + i] = i * 31;
  core.bytes.copyWithin(output, input, input + blockSize);
  t.is(core.exports.isEqual(input, output, blockSize), 1);
  for (const position of positions) {
    core.bytes[output + position]! ^= 4;
    t.is(core.exports.isEqual(input, output, blockSize), 0, `at ${position}`);
    core.bytes[output + position]! ^= 4;
  }
});

test('core module: it imports nothing but its memory', async (t) => {
  const { coreModule } = await import('../../../wasm/host/load.ts');
  t.deepEqual(WebAssembly.Module.imports(coreModule()), [
    { module: 'env', name: 'memory', kind: 'memory' },
  ]);
});
