// Two counters that the machine room shares with the driver, which cannot ask a thread that hangs.

const beatIndex = 0;
const guestIndex = 1;
export const heartBytes = 8;

/** The machine room's end. */
export class Heart {
  readonly #counters: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.#counters = new Int32Array(shared);
  }

  beat(): void {
    Atomics.add(this.#counters, beatIndex, 1);
  }

  /** Names the guest that computes now by its number; 0 for none. */
  enter(guestNumber: number): void {
    Atomics.store(this.#counters, guestIndex, guestNumber);
    this.beat();
  }

  get beats(): number {
    return Atomics.load(this.#counters, beatIndex);
  }

  get guestNumber(): number {
    return Atomics.load(this.#counters, guestIndex);
  }
}
