/**
 * A front-end that truncates the file of its memory under us: requests whose
 * payload was there fail, and nothing else happens. What becomes of rings and
 * headers is in docs/threat_model.md.
 */
import { assertEquals } from "@std/assert";
import { check } from "../../src/ffi/errno.ts";
import { libc } from "../../src/ffi/libc.ts";
import { DiskFile } from "../../src/io/file.ts";
import { BLOCK_STATUS } from "../../src/testing/block_driver.ts";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import type { DriverSegment } from "../../src/testing/ring_driver.ts";
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_INDIRECT,
} from "../../src/virtqueue/layout.ts";
import { requirement } from "../support/require.ts";
import {
  BLOCK_SIZE,
  FIRST_SCRATCH_BLOCK,
  PLANES,
  sectorOf,
  type TargetOptions,
  until,
  withTarget,
} from "./support/hostile_target.ts";
import { RawRing, UNTOUCHED } from "./support/raw_ring.ts";

const IN = 0;
const OUT = 1;
/** The region that holds payload and nothing else. */
const PAYLOAD = 1;
/** Of a transfer: several pages. */
const SIZE = 4 * BLOCK_SIZE;

const canDirect = requirement(
  "O_DIRECT in the folder of temporary files",
  () => {
    const path = Deno.makeTempFileSync();
    try {
      Deno.writeFileSync(path, new Uint8Array(BLOCK_SIZE));
      using _file = DiskFile.open(path, { readOnly: true, direct: true });
      return true;
    } finally {
      Deno.removeSync(path);
    }
  },
);

/** Leaves `size` bytes of the file behind region `index`. */
function truncate(disk: BlockConnection, index: number, size: number): void {
  const { fd } = disk.memory.regions[index]!;
  check(libc.ftruncate(fd!.number, BigInt(size)), "ftruncate");
}

/** A buffer in the payload region, `shift` bytes off its alignment. */
function payload(
  raw: RawRing,
  shift: number,
  writable: boolean,
): DriverSegment {
  const { address } = raw.room(SIZE + BLOCK_SIZE, PAYLOAD);
  return { address: Number(address) + shift, size: SIZE, writable };
}

/** Sends a transfer of `data`; its status. */
async function transfer(
  raw: RawRing,
  type: number,
  data: readonly DriverSegment[],
): Promise<number> {
  const header = raw.header(type, sectorOf(FIRST_SCRATCH_BLOCK + 1));
  const status = raw.room(1);
  assertEquals(raw.byteOf(status), UNTOUCHED);
  await raw.send([header, ...data, status]);
  return raw.byteOf(status);
}

/** Payload that is `shift` bytes off its alignment is lost, on a target of `options`. */
async function losesPayload(
  options: TargetOptions,
  shift: number,
): Promise<void> {
  await withTarget(options, async (target) => {
    for (const left of [0, SIZE / 2]) {
      await target.survives(`a truncation to ${left} bytes`, async (disk) => {
        const raw = new RawRing(disk);
        const into = payload(raw, shift, true);
        const from = payload(raw, shift, false);
        assertEquals(await transfer(raw, IN, [into]), BLOCK_STATUS.OK);
        assertEquals(await transfer(raw, OUT, [from]), BLOCK_STATUS.OK);
        truncate(disk, PAYLOAD, left);
        const { IOERR } = BLOCK_STATUS;
        assertEquals(await transfer(raw, IN, [into]), IOERR);
        assertEquals(await transfer(raw, OUT, [from]), IOERR);
        // The same amid memory that is still there.
        const good = raw.room(BLOCK_SIZE);
        assertEquals(await transfer(raw, IN, [good, into, good]), IOERR);
        const sound = { ...good, writable: false };
        assertEquals(await transfer(raw, OUT, [sound, from, sound]), IOERR);
        await raw.goesOn();
      });
    }
  });
}

/** The most entries that a ring can have. */
const LARGEST = 32768;

/** Fills the ring: a few reads, then writes, all of the same payload. */
function fillRing(raw: RawRing): void {
  const sector = sectorOf(FIRST_SCRATCH_BLOCK + 1);
  const tables = [IN, OUT].map((type) => {
    const data = payload(raw, 1, type === IN);
    // Made by the driver for one request, and named by all.
    const segments = [raw.header(type, sector), data, raw.room(1)];
    const head = raw.ring.add(segments, { indirect: true });
    const at = raw.ring.descriptorArea + DESCRIPTOR_SIZE * head;
    const [view, offset] = raw.disk.memory.view(at);
    return Number(view.getBigUint64(offset, true));
  });
  for (let head = 2; head < LARGEST; head++) {
    const address = tables[head < 32 ? 0 : 1]!;
    const flags = VIRTQ_DESC_F_INDIRECT;
    raw.ring.rawDescriptor(head, { address, size: 3 * DESCRIPTOR_SIZE, flags });
    raw.ring.rawAvailable(head);
  }
}

for (const plane of PLANES) {
  Deno.test({
    name:
      `[H10] [H18] as many requests as a ring can have lose their payload at once, on the ${plane} plane`,
    ignore: !canDirect,
    fn: () => {
      const more = ["--direct", "--queue-size", String(LARGEST)];
      return withTarget(
        { dataPlane: plane, more },
        (target) =>
          target.survives("a full ring without payload", async (disk) => {
            const raw = new RawRing(disk);
            fillRing(raw);
            truncate(disk, PAYLOAD, 0);
            raw.publish();
            await until(
              () => raw.ring.publishedUsedIndex === LARGEST,
              () => `${raw.ring.publishedUsedIndex} requests were answered`,
            );
          }, { queueSize: LARGEST }),
      );
    },
  });

  for (const engine of ["io_uring", "sync"]) {
    const options = { dataPlane: plane, ioEngine: engine };

    Deno.test(`[H10] payload memory that is truncated fails its requests only, by ${engine} on the ${plane} plane`, () =>
      losesPayload(options, 0));

    Deno.test({
      name: `[H10] the same with --direct, by ${engine} on the ${plane} plane`,
      ignore: !canDirect,
      fn: () => losesPayload({ ...options, more: ["--direct"] }, 0),
    });

    Deno.test({
      name:
        `[H10] the same with --direct and memory that is not fit for it, by ${engine} on the ${plane} plane`,
      ignore: !canDirect,
      fn: () => losesPayload({ ...options, more: ["--direct"] }, 1),
    });
  }
}
