import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Prng } from "./prng.ts";

function take(prng: Prng, count: number): number[] {
  return Array.from({ length: count }, () => prng.next());
}

describe("Prng", () => {
  it("gives the same numbers for the same seed", () => {
    assertEquals(take(new Prng(7), 100), take(new Prng(7), 100));
    assertNotEquals(take(new Prng(7), 100), take(new Prng(8), 100));
    assertEquals(new Prng(2 ** 32 + 5).seed, 5);
  });

  it("gives whole numbers in range, all of a small range", () => {
    const prng = new Prng(1);
    const seen = new Set(Array.from({ length: 1000 }, () => prng.below(10)));
    assertEquals([...seen].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (const value of take(prng, 100)) {
      assert(Number.isInteger(value) && value >= 0 && value < 2 ** 32);
    }
    assert(prng.oneIn(1));
    assertEquals(prng.pick(["only"]), "only");
  });

  it("fills arrays", () => {
    const bytes = new Prng(3).fill(new Uint8Array(1000));
    assert(new Set(bytes).size > 200);
  });
});
