/**
 * Descriptors that change while they are read: what the device checked is what
 * it uses.
 *
 * @module
 */
import { assert } from "@std/assert";
import { afterAll, describe, it } from "@std/testing/bdd";
import { Prng } from "../../src/testing/mod.ts";
import { tryBatch } from "./campaign.ts";
import { packedRace, splitRace } from "./race/mod.ts";
import { Tally } from "./target.ts";

const TURNS = 400;
const STEPS = 5;
/** On a busy machine the other thread may be late. */
const TRIES = 50;

describe("ring race", () => {
  afterAll(() => splitRace.close?.());

  for (const race of [splitRace, packedRace]) {
    it(`[H25] descriptors rewritten by another thread harm nobody (${race.name})`, async () => {
      const prng = Prng.fromEnvironment("ring race");
      const tally = new Tally();
      for (let i = 0; tally.of("malformed chains") === 0; i++) {
        assert(i < TRIES, "the other thread changes nothing");
        const seed = prng.next() & 0xffff;
        const steps = Array.from(
          { length: STEPS },
          () => ["turns", TURNS, prng.next()] as const,
        );
        const shape = { device: 0, seed };
        await tryBatch(race, { shape, steps }, tally);
      }
    });
  }
});
