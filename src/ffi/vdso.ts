/**
 * The random numbers of the kernel without a system call: `__vdso_getrandom`
 * (Linux 6.11) is code of the kernel that runs in this process. See
 * docs/decisions/0020-random-numbers-without-a-call.md.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { libc } from "./libc.ts";
import { addressFrom, pointerTo } from "./pointer.ts";
import { GETRANDOM_PARAMS } from "./struct.ts";

const LIBRARY = "linux-vdso.so.1";
const SYMBOLS = {
  // ssize_t __vdso_getrandom(void *buffer, size_t len, unsigned int flags,
  //   void *opaque_state, size_t opaque_len);
  // Its sizes are whole words to it: so they are no u32, whose upper half a
  // caller may leave as it is. One is loaded from memory as a bigint, see
  // libc.ts; the other never changes, and is a pointer of that value.
  fill: {
    name: "__vdso_getrandom",
    parameters: ["buffer", "u64", "u32", "pointer", "pointer"],
    result: "i32",
  },
  // The same, that says what a state takes: struct vgetrandom_opaque_params.
  describe: {
    name: "__vdso_getrandom",
    parameters: ["pointer", "u64", "u32", "buffer", "u64"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** An `opaque_len` that asks what a state takes. */
const DESCRIBE = 0xffff_ffff_ffff_ffffn;
/** `MAP_FAILED`, (void *) -1, as it comes out of a 64-bit pointer. */
const MAP_FAILED = 2 ** 64;
const PAGE_SIZE = libc.getpagesize();

type Vdso = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/**
 * The kernel's generator in user space. Each has a state of its own, in memory
 * of a kind that the kernel has for it: nobody else gets the same bytes, not
 * even a copy of the process or of the machine.
 *
 * It is for memory of our own: where memory of a guest is gone, a system call
 * answers EFAULT, and this would be a bus error.
 */
export class VdsoRandom implements Disposable {
  readonly #fill: Vdso["fill"];
  readonly #state: Deno.PointerObject;
  readonly #stateSize: Deno.PointerObject;
  readonly #size: BigUint64Array<ArrayBuffer>;
  readonly #sizeWords: Uint32Array;
  #mapped = true;

  private constructor(vdso: Vdso, state: number, stateSize: number) {
    this.#fill = vdso.fill;
    this.#state = pointerTo(state);
    this.#stateSize = pointerTo(stateSize);
    this.#size = new BigUint64Array(1);
    this.#sizeWords = new Uint32Array(this.#size.buffer);
  }

  /** One for this thread, or null where the kernel has none. */
  static open(): VdsoRandom | null {
    const vdso = load();
    if (vdso === null) return null;
    const params = new Uint32Array(GETRANDOM_PARAMS.size / 4);
    if (vdso.describe(null, 0n, 0, params, DESCRIBE) !== 0) return null;
    const { at } = GETRANDOM_PARAMS;
    const stateSize = params[at.stateSize / 4]!;
    const access = params[at.protection / 4]!;
    const flags = params[at.flags / 4]!;
    // A state may not lie on two pages; one at the start of a page doesn't.
    if (stateSize === 0 || stateSize > PAGE_SIZE) return null;
    const page = libc.mmap(null, BigInt(PAGE_SIZE), access, flags, -1, 0n);
    const state = addressFrom(page);
    if (state === MAP_FAILED) return null;
    return new VdsoRandom(vdso, state, stateSize);
  }

  /** Fills the first `size` bytes of `bytes`: `size`, or a negative errno. */
  fill(bytes: Uint8Array<ArrayBuffer>, size: number): number {
    assert(this.#mapped && size <= bytes.length, "the size of random bytes");
    this.#sizeWords[0] = size;
    return this.#fill(bytes, this.#size[0]!, 0, this.#state, this.#stateSize);
  }

  /** Unmaps the state. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    libc.munmap(this.#state, BigInt(PAGE_SIZE));
  }
}

/** Its symbols, or null where there are none. */
function load(): Vdso | null {
  try {
    return Deno.dlopen(LIBRARY, SYMBOLS).symbols;
  } catch {
    // An older kernel, or one that has no such page.
    return null;
  }
}
