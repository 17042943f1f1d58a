/**
 * What a ring is to write into its memory.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { DriverMemory } from "../../../src/testing/mod.ts";

type Bits = 16 | 32;

/** A write: where, its value, what is there before it. */
interface Write {
  readonly address: number;
  readonly bits: Bits;
  readonly value: number;
  before: number;
  applied: boolean;
}

/** Writes that are foretold, in their order, until they are verified. */
export class ForetoldWrites {
  readonly #memory: DriverMemory;
  #writes: Write[] = [];

  /** None yet. */
  constructor(memory: DriverMemory) {
    this.#memory = memory;
  }

  /** The ring is to write `value`, of so many bits, at `address`. */
  foretell(address: number, bits: Bits, value: number): void {
    const write = { address, bits, value, before: 0, applied: false };
    this.#writes.push(write);
  }

  /** Makes them, where the model itself has to read them. */
  apply(): void {
    for (const write of this.#writes) {
      if (write.applied) continue;
      write.before = this.#get(write);
      write.applied = true;
      this.#set(write, write.value);
    }
  }

  /** Unmakes them: the ring is to make them itself. */
  undo(): void {
    for (let i = this.#writes.length - 1; i >= 0; i--) {
      const write = this.#writes[i]!;
      if (!write.applied) continue;
      this.#set(write, write.before);
      write.applied = false;
    }
  }

  /** The ring made them, all. */
  verify(): void {
    for (let i = 0; i < this.#writes.length; i++) {
      const write = this.#writes[i]!;
      const there = this.#get(write);
      if (there === write.value || this.#isOverwritten(i)) continue;
      assertEquals(there, write.value, `at 0x${write.address.toString(16)}`);
    }
    this.#writes = [];
  }

  /** 16 bits of the memory. */
  u16(address: number): number {
    const [view, at] = this.#memory.view(address);
    return view.getUint16(at, true);
  }

  /** Whether a later one of them goes to the same place. */
  #isOverwritten(index: number): boolean {
    const { address } = this.#writes[index]!;
    return this.#writes.slice(index + 1)
      .some((later) => later.address === address);
  }

  #get({ address, bits }: Write): number {
    if (bits === 16) return this.u16(address);
    const [view, at] = this.#memory.view(address);
    return view.getUint32(at, true);
  }

  #set({ address, bits }: Write, value: number): void {
    const [view, at] = this.#memory.view(address);
    if (bits === 16) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
}
