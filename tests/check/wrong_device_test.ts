/**
 * Checks notice devices that are wrong: each can fail.
 */
import { assertEquals } from "@std/assert";
import {
  outcomesOn,
  PATIENCE_MS,
  unnoticed,
} from "./support/wrong_back_end.ts";
import { type DiskDefects, wrongDisk } from "./support/wrong_disk.ts";
import { type RngDefect, wrongRng } from "./support/wrong_rng.ts";

/** A defect of a disk, and the checks that must notice it. */
type DiskCase = readonly [what: string, DiskDefects, ids: readonly string[]];

const write = (names: readonly string[]) =>
  names.map((name) => `block-write/${name}`);
/** A number of the config space is 0. */
const zeroAt = (at: number, id: string): DiskCase => [
  `config space with zeros at ${at}`,
  { config: (view) => view.setUint32(at, 0, true) },
  [`block-config/${id}`],
];

const DISKS: readonly DiskCase[] = [
  ["status that is always OK", { status: () => 0 }, [
    "block/unknown-type",
    "block/unknown-type-with-room",
    "block/read-beyond",
    "block/read-across-end",
    "block/read-last-sector-number",
    "block/read-byte-wrap",
    "block/read-part-of-sector",
    ...write(["beyond", "across-end", "part-of-sector", "discard-unmap"]),
    ...write(["discard-beyond", "zeroes-flags", "zeroes-beyond"]),
    ...write(["half-a-range"]),
  ]],
  ["status that is never UNSUPP", { status: (_, s) => s === 2 ? 1 : s }, [
    "block/unknown-type",
    ...write(["discard-unmap", "zeroes-flags"]),
  ]],
  ["flush that fails", { status: (type, s) => type === 4 ? 1 : s }, [
    "block/flush",
    ...write(["flushed"]),
  ]],
  ["discard that fails", { status: (type, s) => type === 11 ? 1 : s }, [
    ...write(["discard"]),
  ]],
  ["GET_ID that is unsupported", { status: (type, s) => type === 8 ? 2 : s }, [
    "block/get-id",
  ]],
  ["used length that is 0", { written: () => 0 }, [
    "block/failed-length",
    "chain/used-length",
  ]],
  ["sector that is rounded", { sector: (sector) => sector & ~7 }, [
    "block/read-offsets",
    "block/many-in-flight",
    "block/rings-agree",
    "ring/many-requests",
    "chain/shattered",
  ]],
  ["last sector that is not there", {
    status: (_, s) => s,
    sector: (sector) => sector === 8191 ? 9000 : sector,
  }, ["block/read-last"]],
  ["header that must be alone", { headerAlone: true }, [
    "chain/bytes-read",
    "chain/shattered",
    "chain/indirect-shattered",
    ...write(["joined", "bytes", "shattered"]),
  ]],
  ["write that is lost", { losesWrites: true }, [
    ...write(["sizes", "neighbours", "flushed", "joined", "bytes"]),
  ]],
  ["WRITE_ZEROES that does nothing", { losesZeroes: true }, [
    ...write(["zeroes", "zeroes-unmap"]),
  ]],
  ["write that reaches the end as far as it goes", { writesPartly: true }, [
    ...write(["across-end"]),
  ]],
  zeroAt(12, "seg-max"),
  zeroAt(34, "num-queues"),
  zeroAt(36, "discard"),
  zeroAt(40, "discard"),
  zeroAt(52, "write-zeroes"),
  zeroAt(0, "capacity"),
  ["block size of 100", { config: (view) => view.setUint32(20, 100, true) }, [
    "block-config/blk-size",
  ]],
  ["largest segment of 0", { features: (bits) => bits | 2n }, [
    "block-config/size-max",
  ]],
  ["disk that is read-only and is written", { features: (b) => b | 32n }, [
    "block/read-only",
  ]],
];

for (const [what, defects, ids] of DISKS) {
  Deno.test(`a disk with a ${what} is noticed`, async () => {
    const outcomes = await outcomesOn(wrongDisk(defects), "block", ids);
    assertEquals(unnoticed(outcomes), []);
  });
}

const RNGS: readonly [RngDefect, ids: readonly string[]][] = [
  ["same bytes", ["rng/differs", "rng/spread"]],
  ["few bits", ["rng/spread"]],
  ["nothing written", ["rng/one-byte", "rng/sizes", "ring/one-request"]],
  ["less told", ["rng/sizes", "rng/several-buffers"]],
  ["more told", ["rng/in-flight", "ring/one-request", "chain/bytes-written"]],
];

for (const [defect, ids] of RNGS) {
  Deno.test(`an entropy device with ${defect} is noticed`, async () => {
    const outcomes = await outcomesOn(wrongRng(defect), "rng", ids);
    assertEquals(unnoticed(outcomes), []);
  });
}

Deno.test("the wrong devices are right without their defects", async () => {
  const disk = DISKS.flatMap(([, , ids]) => ids)
    .filter((id) => id !== "block/read-only" && id !== "block-config/size-max");
  const rng = RNGS.flatMap(([, ids]) => ids);
  const outcomes = [
    ...await outcomesOn(
      wrongDisk({}),
      "block",
      [...new Set(disk)],
      null,
      PATIENCE_MS,
    ),
    ...await outcomesOn(
      wrongRng("none"),
      "rng",
      [...new Set(rng)],
      null,
      PATIENCE_MS,
    ),
  ];
  const wrong = outcomes.filter(({ status }) => status !== "pass");
  assertEquals(wrong, []);
});
