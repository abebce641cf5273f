import { readFile } from 'node:fs/promises';
import test from 'ava';
import { inspectProgram } from '../../../../plugins/drivers/wasmvm/program/fitness.ts';
import { Code } from '../../../../sdk/errors.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { type TinyProgram, tinyProgram } from '../../../support/wasmvm/tiny-programs.ts';

const unfit = { code: Code.INVALID_ARGUMENT, reason: 'IMAGE_UNFIT' };

test('inspectProgram: a small program is fit, and says what it can', (t) => {
  t.true(WebAssembly.validate(tinyProgram()));
  t.deepEqual(inspectProgram(tinyProgram()), {
    globals: [],
    canFreeze: false,
    canShutDown: false,
    hasChannel: false,
    pagesMin: 1,
  });
});

test('inspectProgram: the built-in guests are fit and have no hidden state', async (t) => {
  for (const name of ['gateway', 'database']) {
    const path = new URL(`../../../../build/guests/${name}.wasm`, import.meta.url);
    const facts = inspectProgram(await readFile(path));
    t.deepEqual(facts.globals, []);
    t.true(facts.canFreeze && facts.canShutDown && facts.hasChannel);
  }
});

test('inspectProgram: an exported mutable global is fit, because it can be captured', (t) => {
  t.deepEqual(inspectProgram(tinyProgram({ global: 'state' })).globals, ['state']);
});

const refused: Record<string, [TinyProgram, RegExp]> = {
  'a mutable global that is not exported': [{ global: null }, /mutable global 0/],
  'a table': [{ table: true }, /table/],
  'passive segments': [{ passiveData: true }, /passive/],
  'a memory of another name': [{ memoryName: 'heap' }, /"memory"/],
  'a shared memory': [{ sharedMemory: true }, /not shared/],
  'an import from elsewhere': [{ importFunction: ['wasi', 'random_get'] }, /wasi\.random_get/],
  'an unknown function': [{ importFunction: ['vm', 'telephone'] }, /vm\.telephone/],
  'no function tick': [{ withoutTick: true }, /tick/],
};

for (const [what, [program, text]] of Object.entries(refused)) {
  test(`inspectProgram: ${what} is IMAGE_UNFIT`, async (t) => {
    const error = await throwsRpc(t, () => inspectProgram(tinyProgram(program)), unfit);
    t.regex(error.message, text);
  });
}

test('inspectProgram: what is not WebAssembly, and what ends too early, is IMAGE_UNFIT', async (t) => {
  const whole = tinyProgram({ global: 'state' });
  await throwsRpc(t, () => inspectProgram(new Uint8Array()), unfit);
  await throwsRpc(t, () => inspectProgram(new TextEncoder().encode('not wasm, but text')), unfit);
  for (let length = 8; length < whole.length; length++) {
    const cut = whole.slice(0, length);
    // A cut between two sections is left to the engine's own validation.
    if (isBetweenSections(cut)) t.false(WebAssembly.validate(cut));
    else await throwsRpc(t, () => inspectProgram(cut), unfit);
  }
});

function isBetweenSections(bytes: Uint8Array): boolean {
  try {
    inspectProgram(bytes);
    return true;
  } catch {
    return false;
  }
}
