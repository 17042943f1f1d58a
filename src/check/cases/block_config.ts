/**
 * Checks of what a disk says of itself, virtio 1.3 §5.2.4.
 *
 * @module
 */
import type { Check } from "../check.ts";
import { expect } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Target } from "../target.ts";

const CONFIG = "virtio 1.3 §5.2.4";

/** Feature bits, virtio 1.3 §5.2.3. */
export const BLOCK_F = {
  SIZE_MAX: 1n << 1n,
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  TOPOLOGY: 1n << 10n,
  MQ: 1n << 12n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const;

/** A number of the config space. */
type Field = readonly [name: string, offset: number, bits: 8 | 16 | 32];

const SIZE_MAX: Field = ["size_max", 8, 32];
const SEG_MAX: Field = ["seg_max", 12, 32];
const BLK_SIZE: Field = ["blk_size", 20, 32];
const NUM_QUEUES: Field = ["num_queues", 34, 16];
const MAX_DISCARD_SECTORS: Field = ["max_discard_sectors", 36, 32];
const MAX_DISCARD_SEG: Field = ["max_discard_seg", 40, 32];
const MAX_ZEROES_SECTORS: Field = ["max_write_zeroes_sectors", 48, 32];
const MAX_ZEROES_SEG: Field = ["max_write_zeroes_seg", 52, 32];

/** The value of `field`. */
function read({ config }: Target, [, offset, bits]: Field): number {
  if (bits === 8) return config.getUint8(offset);
  if (bits === 16) return config.getUint16(offset, true);
  return config.getUint32(offset, true);
}

/** The capacity, in sectors of 512 bytes. */
export function sectorsOf({ config }: Target): number {
  return Number(config.getBigUint64(0, true));
}

/** Fails unless `field` is at least 1. Skips where `bit` is not offered. */
function atLeastOne(
  run: CheckRun,
  bit: bigint,
  name: string,
  fields: readonly Field[],
): Promise<void> {
  run.needs(bit, name);
  for (const field of fields) {
    const [what, offset, bits] = field;
    const size = run.target.config.byteLength;
    expect(offset + bits / 8 <= size, `${what} is not in the config space`);
    const value = read(run.target, field);
    expect(value >= 1, `${what} is ${value}, wanted 1 at least`);
  }
  return Promise.resolve();
}

export const BLOCK_CONFIG_CHECKS: readonly Check[] = [
  {
    id: "block-config/capacity",
    title: "the disk has a capacity",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: ({ target }) => {
      const { byteLength } = target.config;
      expect(byteLength >= 8, "The config space has no capacity");
      expect(sectorsOf(target) > 0, "The capacity is 0");
      return Promise.resolve();
    },
  },
  {
    id: "block-config/blk-size",
    title: "blk_size is a power of two, 512 at least",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) => {
      run.needs(BLOCK_F.BLK_SIZE, "BLK_SIZE");
      const size = read(run.target, BLK_SIZE);
      expect(
        size >= 512 && (size & (size - 1)) === 0,
        `blk_size is ${size}`,
      );
      return Promise.resolve();
    },
  },
  {
    id: "block-config/size-max",
    title: "size_max is not 0",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) => atLeastOne(run, BLOCK_F.SIZE_MAX, "SIZE_MAX", [SIZE_MAX]),
  },
  {
    id: "block-config/seg-max",
    title: "seg_max is not 0",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) => atLeastOne(run, BLOCK_F.SEG_MAX, "SEG_MAX", [SEG_MAX]),
  },
  {
    id: "block-config/num-queues",
    title: "num_queues is not 0",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) => atLeastOne(run, BLOCK_F.MQ, "MQ", [NUM_QUEUES]),
  },
  {
    id: "block-config/discard",
    title: "the limits of DISCARD are not 0",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) =>
      atLeastOne(run, BLOCK_F.DISCARD, "DISCARD", [
        MAX_DISCARD_SECTORS,
        MAX_DISCARD_SEG,
      ]),
  },
  {
    id: "block-config/write-zeroes",
    title: "the limits of WRITE_ZEROES are not 0",
    section: CONFIG,
    level: "MUST",
    devices: ["block"],
    run: (run) =>
      atLeastOne(run, BLOCK_F.WRITE_ZEROES, "WRITE_ZEROES", [
        MAX_ZEROES_SECTORS,
        MAX_ZEROES_SEG,
      ]),
  },
];
