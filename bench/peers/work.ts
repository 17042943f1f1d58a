/**
 * The works that are measured, and how much of its peers ringside is to do.
 *
 * @module
 */
import { LOOPBACKS, SOURCES } from "./cards.ts";
import type { Contender } from "./contender.ts";
import { DIRECT_DISKS, DISKS, NULL_DISKS } from "./disks.ts";
import { FILE_QUEUES, NULL_QUEUES } from "./queues.ts";
import { TAPS, type TapWay } from "./taps.ts";

/** A figure of a run. */
export type Figure = "rate" | "cpuRate" | "p50" | "p99";

/** What is wanted of ours, as a ratio to the best of its peers. */
export interface Bar {
  readonly figure: Figure;
  /** Of a rate the least, of a latency the most. */
  readonly wanted: number;
}

/** One work, given to every contender in turn. */
export interface Work {
  /** As in the tables. */
  readonly name: string;
  /** Of `ringside bench`. */
  readonly device: "block" | "net" | "rng";
  /** Options of `ringside bench`. */
  readonly load: readonly string[];
  /** Ours is the first. */
  readonly contenders: readonly Contender[];
  /**
   * The file comes into the page cache page by page, as a disk does that a guest
   * uses; else in large folios, as one that was copied.
   */
  readonly inPages?: boolean;
  /** Options of fio that do the same on the file, without any device. */
  readonly bare?: readonly string[];
  readonly bars: readonly Bar[];
  /** Which way frames go over a TAP interface, in a namespace of its own. */
  readonly tap?: TapWay;
  /** Of whom the bars are: ours by its peers, or all others by the first. */
  readonly against?: "peers" | "first";
}

const DEPTHS = [1, 16, 64, 128];
const WRITES = ["--mix", "write=1", "--destructive"];
const MIB_BLOCKS = ["--size", "1M", "--order", "sequential", "--depth", "4"];
const FLUSHES = ["--mix", "write=7,flush=1", "--destructive"];

/** Faster, and at depth 1 sooner. */
function bars(depth: number, rate: number, cpuRate?: number): Bar[] {
  if (depth === 1) {
    return [{ figure: "p50", wanted: 1 }, { figure: "p99", wanted: 1 }];
  }
  const all: Bar[] = [{ figure: "rate", wanted: rate }];
  if (cpuRate !== undefined) all.push({ figure: "cpuRate", wanted: cpuRate });
  return all;
}

/** The same load at one depth, by a driver of both kinds. */
function bothDrivers(
  name: string,
  depth: number,
  work: Pick<Work, "device" | "load" | "contenders" | "bare">,
  event: readonly Bar[],
  polled: readonly Bar[],
): Work[] {
  const load = [...work.load, "--depth", `${depth}`];
  return [
    { ...work, name: `${name}, depth ${depth}, event`, load, bars: event },
    {
      ...work,
      name: `${name}, depth ${depth}, polled`,
      load: [...load, "--polled"],
      bars: polled,
    },
  ];
}

function reads(): Work[] {
  const work = { device: "block", load: [], contenders: DISKS } as const;
  return DEPTHS.flatMap((depth) =>
    bothDrivers(
      "4 KiB random reads",
      depth,
      work,
      bars(depth, 1.5, 1.25),
      bars(depth, 1.5),
    )
  );
}

function writes(name: string, load: readonly string[]): Work[] {
  return DEPTHS.slice(1).map((depth) => ({
    name: `${name}, depth ${depth}, event`,
    device: "block",
    load: [...load, "--depth", `${depth}`],
    contenders: DISKS,
    bars: bars(depth, 1.25),
  }));
}

/** The same, of a file whose pages came one by one. */
function inPages(works: readonly Work[]): Work[] {
  return works.map((work) => ({
    ...work,
    name: `in pages: ${work.name}`,
    contenders: DISKS.slice(0, 3),
    inPages: true,
  }));
}

function sequential(name: string, load: readonly string[]): Work {
  return {
    name: `1 MiB sequential ${name}, depth 4, event`,
    device: "block",
    load: [...load, ...MIB_BLOCKS],
    contenders: DISKS,
    bars: bars(4, 1.1),
  };
}

function nulls(): Work[] {
  const work = { device: "block", load: [], contenders: NULL_DISKS } as const;
  return [1, 16, 128].flatMap((depth) => {
    // A rate at depth 1 too: there is no disk that could hide a difference.
    const wanted: Bar[] = [
      { figure: "rate", wanted: 1 },
      { figure: "cpuRate", wanted: 1 / 1.1 },
    ];
    return bothDrivers("null disk, 4 KiB reads", depth, work, wanted, wanted);
  });
}

/** Beside fio, which does it to the same file without any device. */
function beside(): Work[] {
  const contenders = DISKS.slice(0, 1);
  const reads = ["--rw=randread", "--bs=4k", "--iodepth=64"];
  const batches = ["--iodepth_batch=32", "--iodepth_batch_complete_min=32"];
  const read = {
    device: "block",
    load: ["--depth", "64", "--polled"],
    contenders,
    bars: [{ figure: "rate", wanted: 0.9 }],
  } as const;
  return [
    {
      ...read,
      name: "4 KiB random reads beside fio, depth 64, polled",
      bare: reads,
    },
    {
      ...read,
      name: "4 KiB random reads beside fio in batches, depth 64, polled",
      // Aligned memory and a registered file are what we have, too.
      bare: [...reads, ...batches, "--registerfiles=1", "--mem=mmap"],
    },
    {
      device: "block",
      name: "4 KiB random writes beside fio, depth 16, event",
      load: [...WRITES, "--depth", "16"],
      contenders,
      bare: ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--mem=mmap"],
      // How much the kernel leaves to anybody.
      bars: [],
    },
    {
      device: "block",
      name: "1 MiB sequential reads beside memcpy (fio, mmap), depth 4, polled",
      load: [...MIB_BLOCKS, "--polled"],
      contenders,
      bare: ["--rw=read", "--bs=1m", "--ioengine=mmap"],
      bars: [{ figure: "rate", wanted: 0.8 }],
    },
  ];
}

/** Another ring, on another worker, is to cost what the first one does. */
function queues(): Work[] {
  const bars = [{ figure: "cpuRate", wanted: 0.9 }] as const;
  const media = [["null disk", NULL_QUEUES], ["file", FILE_QUEUES]] as const;
  return media.flatMap(([medium, contenders]) => {
    const work = { device: "block", load: [], contenders } as const;
    const name = `queues, ${medium}, 4 KiB reads`;
    return bothDrivers(name, 32, work, bars, bars)
      .map((work) => ({ ...work, against: "first" as const }));
  });
}

/** From the guest as fast as it can; to one that sleeps, since others send. */
function taps(): Work[] {
  const work = {
    device: "net",
    contenders: TAPS,
    bars: [{ figure: "rate", wanted: 1.5 }],
  } as const;
  return [64, 1514].flatMap((size) => {
    const frames = ["--size", `${size}`, "--depth", "128"];
    return [
      {
        ...work,
        name: `${size}-byte frames to a tap, depth 128, polled`,
        load: [...frames, "--direction", "tx", "--polled"],
        tap: { direction: "tx", size },
      },
      {
        ...work,
        name: `${size}-byte frames from a tap, depth 128, event`,
        load: [...frames, "--direction", "rx"],
        tap: { direction: "rx", size },
      },
    ];
  });
}

/** All works, in the order of the tables. */
export const WORKS: readonly Work[] = [
  ...reads(),
  ...writes("4 KiB random writes", WRITES),
  ...writes("4 KiB random writes, 1 flush in 8", FLUSHES),
  sequential("reads", []),
  sequential("writes", WRITES),
  ...beside(),
  ...bothDrivers(
    "O_DIRECT 4 KiB random reads",
    32,
    {
      device: "block",
      load: [],
      contenders: DIRECT_DISKS,
      bare: ["--rw=randread", "--bs=4k", "--iodepth=32", "--direct=1"],
    },
    [{ figure: "rate", wanted: 0.98 }],
    [{ figure: "rate", wanted: 0.98 }],
  ),
  ...nulls(),
  ...queues(),
  {
    name: "64-byte frames there and back, depth 128, polled",
    device: "net",
    load: ["--depth", "128", "--polled"],
    contenders: LOOPBACKS,
    bars: [{ figure: "rate", wanted: 0.5 }],
  },
  ...taps(),
  {
    name: "random bytes in requests of 4 KiB, depth 16, event",
    device: "rng",
    load: ["--depth", "16", "--size", "4K"],
    contenders: SOURCES,
    bars: [{ figure: "rate", wanted: 1.5 }],
  },
  // Last, since the file stays so.
  ...inPages(writes("4 KiB random writes", WRITES)),
  ...inPages(writes("4 KiB random writes, 1 flush in 8", FLUSHES)),
];
