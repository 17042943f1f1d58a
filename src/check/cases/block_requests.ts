/**
 * Checks of what a disk does with requests that change nothing.
 *
 * @module
 */
import { BLOCK_STATUS } from "../../testing/block_driver.ts";
import type { Check } from "../check.ts";
import { expect, expectBytes, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import { BLOCK_T, Disk, type DiskRequest } from "../disk.ts";
import { blockSizeOf } from "../workload_block.ts";
import { BLOCK_F } from "./block_config.ts";

const OPERATION = "virtio 1.3 §5.2.6";
const { OK, UNSUPP } = BLOCK_STATUS;
/** §5.2.6: bytes of the answer to GET_ID. */
const ID_SIZE = 20;

type Body = (disk: Disk, run: CheckRun) => Promise<unknown>;

/** A check of a disk. */
export function diskCheck(
  id: string,
  title: string,
  level: Check["level"],
  body: Body,
  more: Partial<Check> = {},
): Check {
  return {
    id,
    title,
    section: OPERATION,
    level,
    devices: ["block"],
    ...more,
    run: async (run) => void await body(await Disk.open(run), run),
  };
}

/** A read that must fail; it makes no sense of the request given by `make`. */
function badRead(
  id: string,
  title: string,
  make: (disk: Disk) => DiskRequest,
): Check {
  return diskCheck(
    id,
    title,
    "MUST",
    (disk) => disk.mustFail(make(disk), title),
    { hostile: true },
  );
}

const IN = BLOCK_T.IN;

export const BLOCK_REQUEST_CHECKS: readonly Check[] = [
  diskCheck(
    "block/read-sizes",
    "reads of one block up to 256 KiB",
    "MUST",
    async (disk, { target }) => {
      const { known } = target;
      const unit = blockSizeOf(target);
      for (let size = unit; size <= 256 << 10; size *= 2) {
        if (size > known.length) break;
        const bytes = await disk.read(0, size);
        expectBytes(bytes, known.subarray(0, size), "what was read");
      }
    },
  ),
  diskCheck(
    "block/read-offsets",
    "reads at any block, also unaligned to pages",
    "MUST",
    async (disk, { target, prng }) => {
      const { known } = target;
      const unit = blockSizeOf(target);
      const blocks = known.length / unit;
      for (let i = 0; i < 100; i++) {
        const from = prng.below(blocks);
        const count = 1 + prng.below(Math.min(blocks - from, 20));
        const bytes = await disk.read(from * unit / 512, count * unit);
        const wanted = known.subarray(from * unit, (from + count) * unit);
        expectBytes(bytes, wanted, `what was read from block ${from} on`);
      }
    },
  ),
  diskCheck(
    "block/read-last",
    "a read of the last block",
    "MUST",
    async (disk, { target }) => {
      const unit = blockSizeOf(target);
      await disk.read(disk.sectors - unit / 512, unit);
    },
  ),
  diskCheck(
    "block/get-id",
    "GET_ID gives 20 bytes",
    "SHOULD",
    async (disk) => {
      const request = { type: BLOCK_T.GET_ID, room: ID_SIZE };
      const { written } = await disk.mustAnswer(request, OK, "GET_ID");
      expectEqual(written, ID_SIZE + 1, "The used length of GET_ID");
    },
  ),
  diskCheck(
    "block/flush",
    "FLUSH succeeds",
    "MUST",
    async (disk, run) => {
      run.needs(BLOCK_F.FLUSH, "FLUSH");
      await disk.mustAnswer({ type: BLOCK_T.FLUSH }, OK, "a flush");
    },
  ),
  diskCheck(
    "block/unknown-type",
    "requests of types that do not exist are unsupported",
    "MUST",
    async (disk) => {
      for (const type of [3, 99, 0x7fff_ffff, 0xffff_ffff]) {
        const what = `a request of type ${type}`;
        await disk.mustAnswer({ type }, UNSUPP, what);
      }
    },
    { hostile: true },
  ),
  diskCheck(
    "block/unknown-type-with-room",
    "an unsupported request with room for data has its status at the end",
    "MUST",
    async (disk) => {
      const request = { type: 99, room: 512 };
      await disk.mustAnswer(request, UNSUPP, "a request of type 99");
    },
    { hostile: true },
  ),
  diskCheck(
    "block/failed-length",
    "the used length of a request without data counts its status",
    "MUST",
    async (disk) => {
      const { written } = await disk.ask({ type: 99 });
      expectEqual(written, 1, "The used length");
    },
    { section: "virtio 1.3 §2.7.8.2" },
  ),
  badRead(
    "block/read-beyond",
    "a read of the sector after the last",
    (disk) => ({
      type: IN,
      sector: disk.sectors,
      room: 512,
    }),
  ),
  badRead("block/read-across-end", "a read across the end", (disk) => ({
    type: IN,
    sector: disk.sectors - 1,
    room: 4096,
  })),
  badRead("block/read-last-sector-number", "a read of sector 2^64-1", () => ({
    type: IN,
    sector: 0xffff_ffff_ffff_ffffn,
    room: 512,
  })),
  badRead("block/read-byte-wrap", "a read of sector 2^55, byte 2^64", () => ({
    type: IN,
    sector: 1n << 55n,
    room: 512,
  })),
  badRead("block/read-part-of-sector", "a read of 511 bytes", () => ({
    type: IN,
    room: 511,
  })),
  diskCheck(
    "block/read-nothing",
    "a read of no bytes is answered",
    "MUST",
    async (disk) => {
      const { status } = await disk.ask({ type: IN });
      expect(status <= UNSUPP, "The status was not written");
    },
    { hostile: true },
  ),
  diskCheck(
    "block/many-in-flight",
    "many reads in flight give each its own data",
    "MUST",
    async (disk, { target, prng }) => {
      const { ring, workload } = disk.guest;
      if (target.known.length === 0) return;
      for (let round = 0; round < 10; round++) {
        const sent = Array.from({ length: 20 }, () => {
          const request = workload.request();
          return { request, head: ring.add(request.segments) };
        });
        ring.publish();
        // Whatever the order in which they come.
        sent.sort(() => prng.below(3) - 1);
        for (const { request, head } of sent) {
          request.check(await ring.finish(head));
        }
      }
    },
  ),
  {
    id: "block/rings-agree",
    title: "each ring reads the same disk",
    section: OPERATION,
    level: "MUST",
    devices: ["block"],
    run: async (run) => {
      const { facts, options } = run.target;
      const ringCount = Math.min(facts.queueCount, options.queueCount ?? 4);
      const guest = await run.guest({ ringCount });
      for (const ring of guest.rings) await guest.works(ring, 10);
    },
  },
  diskCheck(
    "block/read-only",
    "a disk that offers RO takes no write",
    "MUST",
    async (disk, run) => {
      run.needs(BLOCK_F.RO, "RO");
      const request = { type: BLOCK_T.OUT, bytes: new Uint8Array(4096) };
      await disk.mustFail(request, "a write");
      const { known } = run.target;
      const bytes = await disk.read(0, Math.min(4096, known.length));
      expectBytes(bytes, known.subarray(0, bytes.length), "the first block");
    },
    { section: "virtio 1.3 §5.2.6.2" },
  ),
];
