import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { blockBytes } from '../targets/lz4-frame.ts';

type Exports = {
  memory: WebAssembly.Memory;
  decompress(result: number, input: number, length: number): void;
  __wbindgen_add_to_stack_pointer(by: number): number;
  __wbindgen_malloc(length: number): number;
  __wbindgen_free(address: number, length: number): void;
};

/**
 * The LZ4 decoder of the npm package lz4-wasm: other people's code, hence a second opinion on what
 * our own wrote. Its glue code expects a bundler, so it is loaded by hand. It believes the size in
 * front of its input; here that size is always the 64 KiB of a block, never a number from outside.
 */
export class IndependentDecoder {
  readonly #module: WebAssembly.Module;
  #exports: Exports | undefined;

  constructor() {
    const path = createRequire(import.meta.url).resolve('lz4-wasm/lz4_wasm_bg.wasm');
    this.#module = new WebAssembly.Module(readFileSync(path));
  }

  /** The 64 KiB of a block, or undefined if they do not decode. */
  decode(stored: Uint8Array): Uint8Array | undefined {
    assert(stored.length <= blockBytes, 'a stored block');
    this.#exports ??= this.#instantiate();
    const exports = this.#exports;
    const input = new Uint8Array(4 + stored.length);
    new DataView(input.buffer).setUint32(0, blockBytes, true);
    input.set(stored, 4);
    try {
      const plain = call(exports, input);
      return plain?.length === blockBytes ? plain : undefined;
    } catch (error) {
      // After a trap or a thrown error its memory is in no known state: the next call starts
      // afresh.
      this.#exports = undefined;
      if (error instanceof WebAssembly.RuntimeError || error instanceof Refused) return undefined;
      throw error;
    }
  }

  #instantiate(): Exports {
    const imports: WebAssembly.Imports = {};
    for (const { module, name } of WebAssembly.Module.imports(this.#module)) {
      imports[module] ??= {};
      // Its only import makes an error message, i.e. it refuses its input.
      imports[module][name] = () => {
        throw new Refused();
      };
    }
    return new WebAssembly.Instance(this.#module, imports).exports as unknown as Exports;
  }
}

class Refused extends Error {}

function call(exports: Exports, input: Uint8Array): Uint8Array | undefined {
  const result = exports.__wbindgen_add_to_stack_pointer(-16);
  const address = exports.__wbindgen_malloc(input.length);
  new Uint8Array(exports.memory.buffer).set(input, address);
  exports.decompress(result, address, input.length);
  const [start, length, , failed] = new Int32Array(exports.memory.buffer, result, 4);
  if (failed) throw new Refused();
  const plain = new Uint8Array(exports.memory.buffer, start!, length!).slice();
  exports.__wbindgen_free(start!, length!);
  exports.__wbindgen_add_to_stack_pointer(16);
  return plain;
}
