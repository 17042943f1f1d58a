/**
 * Hostile drivers of the block device: requests that make no sense, over a
 * real socket.
 */
import { assertEquals } from "@std/assert";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import { BLOCK_STATUS, rangeBytes } from "../../src/testing/block_driver.ts";
import type { DriverSegment } from "../../src/testing/ring_driver.ts";
import {
  BLOCK_SIZE,
  BLOCKS,
  PAYLOAD_AT,
  PLANES,
  RINGS_AT,
  sectorOf,
  withTarget,
} from "./support/hostile_target.ts";
import { RawRing, UNTOUCHED } from "./support/raw_ring.ts";

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const { IOERR, UNSUPP } = BLOCK_STATUS;

/** Makes the parts of a request, all but its status. */
type Parts = (raw: RawRing) => DriverSegment[];

/** What is wrong, the request without its status, and the status. */
type Case = readonly [what: string, parts: Parts, status: number];

const END = sectorOf(BLOCKS);

const ANSWERED: readonly Case[] = [
  ["a read of sector ~0", (raw) => [
    raw.header(IN, 0xffff_ffff_ffff_ffffn),
    raw.room(512),
  ], IOERR],
  ["a write to sector ~0", (raw) => [
    raw.header(OUT, 0xffff_ffff_ffff_ffffn),
    raw.bytes(new Uint8Array(512)),
  ], IOERR],
  ["a write to sector 2^55, which is byte 2^64", (raw) => [
    raw.header(OUT, 1n << 55n),
    raw.bytes(new Uint8Array(512)),
  ], IOERR],
  ["a write to the sector after the last", (raw) => [
    raw.header(OUT, END),
    raw.bytes(new Uint8Array(512)),
  ], IOERR],
  ["a write that goes beyond the last sector", (raw) => [
    raw.header(OUT, END - 1),
    raw.bytes(new Uint8Array(1024)),
  ], IOERR],
  ["a read of 511 bytes", (raw) => [
    raw.header(IN, 0),
    raw.room(511),
  ], IOERR],
  ["a write of 511 bytes", (raw) => [
    raw.header(OUT, 0),
    raw.bytes(new Uint8Array(511)),
  ], IOERR],
  ["a discard of no segment", (raw) => [raw.header(DISCARD, 0)], IOERR],
  ["a discard of half a segment", (raw) => [
    raw.header(DISCARD, 0),
    raw.bytes(new Uint8Array(8)),
  ], IOERR],
  ["a discard beyond the disk", (raw) => [
    raw.header(DISCARD, 0),
    raw.bytes(rangeBytes([{ sector: END - 1, sectors: 2 }])),
  ], IOERR],
  ["a discard of 2^32 - 1 sectors", (raw) => [
    raw.header(DISCARD, 0),
    raw.bytes(rangeBytes([{ sector: 0, sectors: 0xffff_ffff }])),
  ], IOERR],
  ["a discard with the flag to unmap", (raw) => [
    raw.header(DISCARD, 0),
    raw.bytes(rangeBytes([{ sector: 0, sectors: 8, flags: 1 }])),
  ], UNSUPP],
  ["write zeroes with flags of all ones", (raw) => [
    raw.header(WRITE_ZEROES, 0),
    raw.bytes(rangeBytes([{ sector: 0, sectors: 8, flags: 0xffff_ffff }])),
  ], UNSUPP],
  ["write zeroes of which the last segment is bad", (raw) => [
    raw.header(WRITE_ZEROES, 0),
    raw.bytes(rangeBytes([
      { sector: 0, sectors: 8 },
      { sector: END, sectors: 8 },
    ])),
  ], IOERR],
  ["write zeroes of 2^18 segments", (raw) => [
    raw.header(WRITE_ZEROES, 0),
    { address: PAYLOAD_AT, size: 4 << 20, writable: false },
  ], IOERR],
  ["a request of type 3", (raw) => [raw.header(3, 0)], UNSUPP],
  ["a request of type ~0", (raw) => [raw.header(0xffff_ffff, 0)], UNSUPP],
  ["a type with bit 31 on top of a write", (raw) => [
    raw.header(0x8000_0001, 0),
    raw.bytes(new Uint8Array(512)),
  ], UNSUPP],
  ["a flush with data in and out", (raw) => [
    raw.header(FLUSH, 0xffff_ffffn),
    raw.bytes(new Uint8Array(512)),
    raw.room(512),
  ], BLOCK_STATUS.OK],
];

/** Requests that leave no place for a status, or hold no header. */
const UNANSWERED: readonly [what: string, parts: Parts][] = [
  ["a header of 15 bytes", (raw) => [
    { ...raw.header(IN, 0), size: 15 },
    raw.room(513),
  ]],
  ["no status", (raw) => [raw.header(OUT, 0), raw.bytes(new Uint8Array(512))]],
  ["no header", (raw) => [raw.room(512), raw.room(1)]],
  ["a header and nothing else", (raw) => [raw.header(FLUSH, 0)]],
];

/** Memory for a segment of which 64 are 4 GiB. */
const LARGE = { guestAddress: 0x1000_0000, size: 64 << 20 };

/** Requests with just less, and just more data than 32 bits can count. */
async function fourGiB(disk: BlockConnection, type: number): Promise<void> {
  const raw = new RawRing(disk);
  const { guestAddress: address, size } = LARGE;
  const segment = { address, size, writable: type === IN };
  const header = raw.header(type, 0);
  const status = raw.room(1);
  const less = [header, ...new Array(63).fill(segment), status];
  await raw.send(less, { indirect: true });
  assertEquals(raw.byteOf(status), IOERR);
  const answer = raw.room(1);
  // virtio 1.3 §2.7.5.2: a chain has at most 2^32 bytes.
  const more = [header, ...new Array(64).fill(segment), answer];
  assertEquals((await raw.send(more, { indirect: true })).written, 0);
  assertEquals(raw.byteOf(answer), UNTOUCHED);
  await raw.goesOn();
}

for (const plane of PLANES) {
  for (const engine of ["io_uring", "sync"]) {
    const options = { dataPlane: plane, ioEngine: engine };

    Deno.test(`[H27] [C62] [C63] [C64] requests that make no sense change nothing, by ${engine} on the ${plane} plane`, () =>
      withTarget(options, async (target) => {
        for (const [what, parts, status] of ANSWERED) {
          await target.survives(what, async (disk) => {
            const raw = new RawRing(disk);
            const answer = raw.room(1);
            await raw.send([...parts(raw), answer]);
            assertEquals(raw.byteOf(answer), status);
            await raw.goesOn();
          });
        }
        for (const [what, parts] of UNANSWERED) {
          await target.survives(what, async (disk) => {
            const raw = new RawRing(disk);
            assertEquals((await raw.send(parts(raw))).written, 0);
            await raw.goesOn();
          });
        }
      }));
  }

  const options = { dataPlane: plane };

  Deno.test(`[H27] [C66] a status within the data is the last byte of it, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a status within the data", async (disk) => {
          const raw = new RawRing(disk);
          const room = raw.room(BLOCK_SIZE + 1);
          const { written } = await raw.send([raw.header(IN, 0), room]);
          assertEquals(written, BLOCK_SIZE + 1);
          const bytes = disk.memory.read(Number(room.address), room.size);
          assertEquals([bytes[0], bytes.at(-1)], [1, BLOCK_STATUS.OK]);
          // A byte that is all there is holds the status, and no data.
          const single = raw.room(1);
          await raw.send([raw.header(GET_ID, 0), single]);
          assertEquals(raw.byteOf(single), BLOCK_STATUS.OK);
        }),
    ));

  Deno.test(`[H27] [C22] a chain of 4 GiB is counted right, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const type of [IN, OUT]) {
        await target.survives("4 GiB", (disk) => fourGiB(disk, type), {
          memory: [{ guestAddress: RINGS_AT, size: 4 << 20 }, LARGE],
        });
      }
    }));
}
