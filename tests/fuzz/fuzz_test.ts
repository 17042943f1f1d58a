/**
 * Short runs of the fuzzers, and the batches that once found something. Long
 * runs are `deno task fuzz`: see docs/fuzzing.md.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Prng } from "../../src/testing/mod.ts";
import type { Batch } from "./batch.ts";
import { campaign, Finding, tryBatch } from "./campaign.ts";
import { CORPUS } from "./corpus.ts";
import { Tally, type Target } from "./target.ts";
import { TARGETS } from "./targets.ts";

/** Batches of each target: some seconds. */
const RUNS: Record<string, number> = {
  "messages": 60,
  "ring-split": 400,
  "ring-packed": 400,
  "block": 100,
  "net": 120,
  "rng": 250,
  "race-split": 4,
  "race-packed": 4,
};

for (const target of TARGETS) {
  Deno.test(`fuzz ${target.name}: what is foretold comes true`, async () => {
    const { seed } = Prng.fromEnvironment(`fuzz ${target.name}`);
    const runs = RUNS[target.name]!;
    const tally = await campaign(target, { seed, runs });
    console.log(`${target.name}: ${tally}`);
    // It would be no test if batches did nothing.
    assert(tally.of(target.unit) > runs, String(tally));
  });
}

for (const [i, entry] of CORPUS.entries()) {
  Deno.test(`corpus ${i}, ${entry.target}: ${entry.found}`, async () => {
    const target = TARGETS.find(({ name }) => name === entry.target);
    assert(target !== undefined, `there is no target ${entry.target}`);
    await tryBatch(target, entry);
  });
}

/** A world in which three times 7 in all is a mistake. */
const faulty: Target = {
  name: "faulty",
  unit: "steps",
  deterministic: true,
  spec: { shape: { width: 9 }, kinds: ["5", "7"], steps: 20, count: 8 },
  open: () => {
    let sum = 0;
    return {
      step: ([kind, count]) => {
        sum += kind === "7" ? count : 0;
        if (sum >= 3) throw new Error("Three times 7");
      },
      soundness: () => {},
      close: () => {},
    };
  },
};

Deno.test("a finding is made small, and says how to have it again", async () => {
  const error = await assertRejects(
    () => campaign(faulty, { seed: 11, runs: 100 }),
    Finding,
    "Three times 7",
  );
  const batch: Batch = error.batch!;
  assertEquals(batch.shape, { width: 0 });
  assert(batch.steps.every(([kind]) => kind === "7"));
  assertEquals(batch.steps.reduce((sum, [, count]) => sum + count, 0), 3);
  const [, seed, path] = /--seed (\d+) --path ([\d:]+)/.exec(error.message)!;
  const again = await assertRejects(
    () => campaign(faulty, { seed: Number(seed), path: path! }),
    Finding,
  );
  assertEquals(again.batch, batch);
  await assertRejects(() => tryBatch(faulty, batch, new Tally()), Error);
});

Deno.test("what a batch leaves open is found", async () => {
  const left: Deno.FsFile[] = [];
  const leaky: Target = {
    ...faulty,
    open: () => ({
      step: () => {},
      soundness: () => {
        left.push(Deno.openSync("/dev/null"));
      },
      close: () => {},
    }),
  };
  try {
    await assertRejects(
      () => campaign(leaky, { seed: 1, runs: 10 }),
      Finding,
      "descriptors: /dev/null",
    );
  } finally {
    for (const file of left) file.close();
  }
});
