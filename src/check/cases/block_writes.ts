/**
 * Checks of what a disk does with requests that change it.
 *
 * @module
 */
import { BLOCK_STATUS, blockHeader } from "../../testing/block_driver.ts";
import type { Check } from "../check.ts";
import { expect, expectBytes } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import { BLOCK_T, Disk } from "../disk.ts";
import {
  bytewise,
  cut,
  place,
  type Shape,
  shattered,
  untouched,
  whole,
} from "../layout.ts";
import { blockSizeOf } from "../workload_block.ts";
import { BLOCK_F } from "./block_config.ts";
import { diskCheck } from "./block_requests.ts";

const DEVICE = "virtio 1.3 §5.2.6.2";
const FRAMING = "virtio 1.3 §2.7.4.1";
const { OK, UNSUPP } = BLOCK_STATUS;
/** Writes go behind what the reads know, so that these stay true. */
const SCRATCH_AT = 1 << 20;
const SCRATCH_SIZE = 1 << 20;

type Body = (disk: Disk, run: CheckRun, sector: number) => Promise<unknown>;

/** A check that writes from `sector` on, where there is room for it. */
function writing(
  id: string,
  title: string,
  body: Body,
  more: Partial<Check> = {},
): Check {
  return diskCheck(id, title, "MUST", async (disk, run) => {
    if (run.target.offers(BLOCK_F.RO)) run.skip("the disk is read-only");
    if (disk.sectors * 512 < SCRATCH_AT + SCRATCH_SIZE) {
      run.skip("the disk has less than 2 MiB");
    }
    await body(disk, run, SCRATCH_AT / 512);
  }, { destructive: true, ...more });
}

/** Random bytes. */
function bytesOf({ prng }: CheckRun, size: number): Uint8Array {
  return prng.fill(new Uint8Array(size));
}

/** Writes `bytes`, in one piece with the header, cut by `shape`. */
async function writeCut(
  disk: Disk,
  sector: number,
  bytes: Uint8Array,
  shape: Shape,
): Promise<void> {
  const { memory, ring } = disk.guest;
  const header = blockHeader(BLOCK_T.OUT, sector);
  const all = new Uint8Array(header.length + bytes.length);
  all.set(header);
  all.set(bytes, header.length);
  const at = place(memory, all);
  const status = place(memory, untouched(1));
  await ring.send([
    ...cut(at, shape(all.length, [16, bytes.length]), false),
    { address: status, size: 1, writable: true },
  ]);
  const [answer] = memory.read(status, 1);
  expect(answer === OK, `The status of a write is ${answer}, wanted 0`);
}

function writeAs(
  id: string,
  title: string,
  shapes: (run: CheckRun) => Shape[],
): Check {
  return writing(id, title, async (disk, run, sector) => {
    for (const shape of shapes(run)) {
      const bytes = bytesOf(run, 4096);
      await writeCut(disk, sector, bytes, shape);
      expectBytes(await disk.read(sector, 4096), bytes, "what was written");
    }
  }, { section: FRAMING });
}

export const BLOCK_WRITE_CHECKS: readonly Check[] = [
  writing(
    "block-write/sizes",
    "writes of one block up to 256 KiB are read back",
    async (disk, run, sector) => {
      for (let size = blockSizeOf(run.target); size <= 256 << 10; size *= 2) {
        const bytes = bytesOf(run, size);
        await disk.write(sector, bytes);
        expectBytes(await disk.read(sector, size), bytes, "what was written");
      }
    },
    { section: "virtio 1.3 §5.2.6" },
  ),
  writing(
    "block-write/neighbours",
    "a write changes nothing beside it",
    async (disk, run, sector) => {
      const unit = blockSizeOf(run.target);
      const before = bytesOf(run, 8 * unit);
      await disk.write(sector, before);
      const middle = bytesOf(run, unit);
      await disk.write(sector + 3 * unit / 512, middle);
      before.set(middle, 3 * unit);
      const after = await disk.read(sector, before.length);
      expectBytes(after, before, "what is around a write");
    },
    { section: "virtio 1.3 §5.2.6" },
  ),
  writeAs(
    "block-write/joined",
    "header and data of a write are in one descriptor",
    () => [whole],
  ),
  writeAs(
    "block-write/bytes",
    "the header of a write comes in descriptors of one byte each",
    () => [bytewise(20)],
  ),
  writeAs(
    "block-write/shattered",
    "50 writes are cut at random places",
    ({ prng }) => Array.from({ length: 50 }, () => shattered(prng, 12)),
  ),
  writing(
    "block-write/flushed",
    "a write that was flushed is there for the next front-end",
    async (disk, run, sector) => {
      run.needs(BLOCK_F.FLUSH, "FLUSH");
      const bytes = bytesOf(run, 4096);
      await disk.write(sector, bytes);
      await disk.mustAnswer({ type: BLOCK_T.FLUSH }, OK, "a flush");
      run.hangUp(disk.guest);
      const next = await Disk.open(run);
      expectBytes(await next.read(sector, 4096), bytes, "what was written");
    },
  ),
  {
    id: "block-write/disabled",
    title: "a write over a disabled ring does not reach the disk",
    section: "vhost-user, Ring states",
    level: "MUST",
    devices: ["block"],
    destructive: true,
    run: writesDisabled,
  },
  writing(
    "block-write/beyond",
    "a write after the last sector fails",
    async (disk) => {
      const bytes = new Uint8Array(512);
      const request = { type: BLOCK_T.OUT, sector: disk.sectors, bytes };
      await disk.mustFail(request, "a write beyond the disk");
    },
    { hostile: true },
  ),
  writing(
    "block-write/across-end",
    "a write across the end fails, and changes nothing",
    async (disk, run) => {
      const unit = blockSizeOf(run.target);
      const sector = disk.sectors - unit / 512;
      const before = await disk.read(sector, unit);
      const bytes = new Uint8Array(2 * unit).fill(before[0]! ^ 0xff);
      const request = { type: BLOCK_T.OUT, sector, bytes };
      await disk.mustFail(request, "a write across the end");
      expectBytes(await disk.read(sector, unit), before, "the last block");
    },
    { hostile: true },
  ),
  writing(
    "block-write/part-of-sector",
    "a write of 511 bytes fails",
    async (disk, _, sector) => {
      const bytes = new Uint8Array(511);
      const request = { type: BLOCK_T.OUT, sector, bytes };
      await disk.mustFail(request, "a write of 511 bytes");
    },
    { hostile: true },
  ),
  writing(
    "block-write/discard",
    "DISCARD succeeds",
    async (disk, run, sector) => {
      run.needs(BLOCK_F.DISCARD, "DISCARD");
      const ranges = disk.ranges(BLOCK_T.DISCARD, [{ sector, sectors: 128 }]);
      await disk.mustAnswer(ranges, OK, "a discard");
    },
  ),
  writing(
    "block-write/discard-unmap",
    "DISCARD with the flag of WRITE_ZEROES is unsupported",
    async (disk, run, sector) => {
      run.needs(BLOCK_F.DISCARD, "DISCARD");
      const range = { sector, sectors: 8, flags: 1 };
      const request = disk.ranges(BLOCK_T.DISCARD, [range]);
      await disk.mustAnswer(request, UNSUPP, "a discard with a flag");
    },
    { section: DEVICE },
  ),
  writing(
    "block-write/discard-beyond",
    "DISCARD beyond the disk fails",
    async (disk, run) => {
      run.needs(BLOCK_F.DISCARD, "DISCARD");
      const range = { sector: disk.sectors - 8, sectors: 16 };
      const request = disk.ranges(BLOCK_T.DISCARD, [range]);
      await disk.mustFail(request, "a discard beyond the disk");
    },
    { hostile: true },
  ),
  writing(
    "block-write/zeroes",
    "after WRITE_ZEROES the range reads as zeros, and nothing else does",
    (disk, run, sector) => writesZeroes(disk, run, sector, 0),
    { section: DEVICE },
  ),
  writing(
    "block-write/zeroes-unmap",
    "after WRITE_ZEROES that may unmap the range reads as zeros",
    (disk, run, sector) => writesZeroes(disk, run, sector, 1),
    { section: DEVICE },
  ),
  writing(
    "block-write/zeroes-flags",
    "WRITE_ZEROES with an unknown flag is unsupported",
    async (disk, run, sector) => {
      run.needs(BLOCK_F.WRITE_ZEROES, "WRITE_ZEROES");
      const range = { sector, sectors: 8, flags: 0x8000_0000 };
      const request = disk.ranges(BLOCK_T.WRITE_ZEROES, [range]);
      await disk.mustAnswer(request, UNSUPP, "write zeroes with a flag");
    },
    { section: DEVICE },
  ),
  writing(
    "block-write/zeroes-beyond",
    "WRITE_ZEROES beyond the disk fails",
    async (disk, run) => {
      run.needs(BLOCK_F.WRITE_ZEROES, "WRITE_ZEROES");
      const range = { sector: disk.sectors, sectors: 8 };
      const request = disk.ranges(BLOCK_T.WRITE_ZEROES, [range]);
      await disk.mustFail(request, "write zeroes beyond the disk");
    },
    { hostile: true },
  ),
  writing(
    "block-write/half-a-range",
    "WRITE_ZEROES with half a range fails",
    async (disk, run) => {
      run.needs(BLOCK_F.WRITE_ZEROES, "WRITE_ZEROES");
      const request = { type: BLOCK_T.WRITE_ZEROES, bytes: new Uint8Array(8) };
      await disk.mustFail(request, "half a range");
    },
    { hostile: true },
  ),
];

async function writesZeroes(
  disk: Disk,
  run: CheckRun,
  sector: number,
  flags: number,
): Promise<void> {
  run.needs(BLOCK_F.WRITE_ZEROES, "WRITE_ZEROES");
  const unit = Math.max(4096, blockSizeOf(run.target));
  const bytes = bytesOf(run, 4 * unit);
  await disk.write(sector, bytes);
  const range = { sector: sector + unit / 512, sectors: unit / 256, flags };
  const request = disk.ranges(BLOCK_T.WRITE_ZEROES, [range]);
  await disk.mustAnswer(request, OK, "write zeroes");
  bytes.fill(0, unit, 3 * unit);
  const after = await disk.read(sector, bytes.length);
  expectBytes(after, bytes, "what is there after write zeroes");
}

/** Disabled rings have no side effects; another ring sees whether one had. */
async function writesDisabled(run: CheckRun): Promise<void> {
  if (run.target.offers(BLOCK_F.RO)) run.skip("the disk is read-only");
  if (run.target.facts.queueCount < 2) run.skip("there is one ring");
  const disk = await Disk.open(run, { ringCount: 2 });
  if (disk.sectors * 512 < SCRATCH_AT + SCRATCH_SIZE) {
    run.skip("the disk has less than 2 MiB");
  }
  const { memory, rings } = disk.guest;
  const [disabled, other] = rings;
  const sector = SCRATCH_AT / 512;
  const read = { type: BLOCK_T.IN, sector, room: 4096 };
  const before = (await disk.ask(read, other)).bytes;
  await disabled!.enable(false);
  const bytes = place(memory, before.map((byte) => byte ^ 0xff));
  const header = place(memory, blockHeader(BLOCK_T.OUT, sector));
  disabled!.add([
    { address: header, size: 16, writable: false },
    { address: bytes, size: 4096, writable: false },
    { address: place(memory, untouched(1)), size: 1, writable: true },
  ]);
  disabled!.publish("always");
  await disk.guest.barrier();
  await run.quiet();
  const after = (await disk.ask(read, other)).bytes;
  expectBytes(after, before, "what is on the disk");
}
