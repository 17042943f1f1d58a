/**
 * The options of a load, as they are given on a command line.
 *
 * @module
 */
import type {
  OptionSpec,
  OptionSpecs,
  OptionValues,
} from "../device/options.ts";
import { UsageError } from "../errors.ts";
import { BlockLoad, type BlockMix } from "./block_load.ts";
import { FRAME_MAX, FRAME_MIN } from "./frames.ts";
import type { Load } from "./load.ts";
import { NetLoad } from "./net_load.ts";
import { RngLoad } from "./rng_load.ts";
import type { WireOptions } from "./wire.ts";

const DEPTH_MAX = 4096;
const SIZE_MAX = 64 << 20;
/** Operations are drawn from a table of the sum of the parts of a mix. */
const MIX_MAX = 10_000;

/** The options of every load. */
export const LOAD_OPTIONS = {
  "socket-path": {
    type: "string",
    placeholder: "PATH",
    required: true,
    describe: "Where the back-end listens",
  },
  "depth": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: DEPTH_MAX,
    default: 32,
    describe: "Requests in flight on each ring",
  },
  "queues": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 256,
    default: 1,
    describe: "Rings under load, of a card queue pairs; one thread drives all",
  },
  "ring": {
    type: "choice",
    choices: ["split", "packed"],
    default: "split",
    describe: "The kind of the rings",
  },
  "ring-size": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 32768,
    describe: "Entries of each; else what --depth needs, 256 at least",
  },
  "indirect": {
    type: "boolean",
    describe: "Put each request into an indirect table",
  },
  "polled": {
    type: "boolean",
    describe: "Look at the rings for ever; else sleep until the back-end calls",
  },
  "time": {
    type: "number",
    placeholder: "SECONDS",
    min: 1,
    max: 86400,
    describe: "How long to measure; 5 where there is no --requests",
  },
  "requests": {
    type: "number",
    placeholder: "N",
    min: 1,
    describe: "How many requests to measure",
  },
  "warm-up": {
    type: "number",
    placeholder: "SECONDS",
    max: 3600,
    default: 1,
    describe: "How long to run before, unmeasured",
  },
  "stall-limit": {
    type: "number",
    placeholder: "SECONDS",
    min: 1,
    max: 3600,
    default: 10,
    describe: "Fail where the back-end gives nothing back for so long",
  },
  "seed": {
    type: "number",
    placeholder: "N",
    max: 2 ** 32 - 1,
    default: 1,
    describe: "Of all that is random: the same gives the same requests",
  },
  "backend-pid": {
    type: "number",
    placeholder: "PID",
    min: 1,
    max: 2 ** 31 - 1,
    describe: "Tell the processor time and the peak memory of this process",
  },
  "label": {
    type: "string",
    placeholder: "TEXT",
    describe: "What the report and the picture call the run",
  },
  "json": {
    type: "string",
    placeholder: "FILE",
    describe: "Write the report to this file",
  },
  "svg": {
    type: "string",
    placeholder: "FILE",
    describe: "Draw the latency percentiles into this file",
  },
  "help": { type: "boolean", describe: "Print this help and exit" },
} as const satisfies OptionSpecs;

const BLOCK_OPTIONS = {
  "size": {
    type: "size",
    placeholder: "SIZE",
    min: 512,
    max: SIZE_MAX,
    default: 4096,
    describe: "Bytes of a read or write",
  },
  "mix": {
    type: "string",
    placeholder: "PARTS",
    default: "read",
    describe: "What to do, as read=70,write=20,flush=10",
  },
  "order": {
    type: "choice",
    choices: ["random", "sequential"],
    default: "random",
    describe: "Which blocks to touch",
  },
  "range": {
    type: "size",
    placeholder: "SIZE",
    min: 512,
    describe: "Touch the disk's first bytes only, so many; else all",
  },
  "destructive": {
    type: "boolean",
    describe: "Allow a --mix with writes: what is on the disk is lost",
  },
  "verify": {
    type: "boolean",
    describe: "Write a pattern, and check it where it is read again",
  },
} as const satisfies OptionSpecs;

const NET_OPTIONS = {
  "size": {
    type: "string",
    placeholder: "SIZES",
    default: "64",
    describe: `Bytes of a frame, ${FRAME_MIN} to ${FRAME_MAX}, or of several ` +
      "in turn, as 64,512,1514",
  },
  "direction": {
    type: "choice",
    choices: ["loopback", "tx", "rx"],
    default: "loopback",
    describe: "Send to a card that sends back, and measure until then; only " +
      "send; only receive what another sends",
  },
} as const satisfies OptionSpecs;

const RNG_OPTIONS = {
  "size": {
    type: "size",
    placeholder: "SIZE",
    min: 1,
    max: SIZE_MAX,
    default: 64,
    describe: "Bytes that a request asks for",
  },
} as const satisfies OptionSpecs;

/** The values of the options of every load. */
export type LoadValues = OptionValues<typeof LOAD_OPTIONS>;

/** A device that can be put under load. */
export interface LoadKind {
  /** What the load is, in a few words. */
  readonly summary: string;
  /** The options beside those of every load. */
  readonly options: OptionSpecs;
  /** Opens a load, once its values are checked. Throws a UsageError. */
  prepare(
    common: LoadValues,
    own: Readonly<Record<string, unknown>>,
  ): () => Promise<Load>;
}

function blockLoad(
  common: LoadValues,
  own: OptionValues<typeof BLOCK_OPTIONS>,
): () => Promise<Load> {
  const mix = parseMix(own.mix);
  if (mix.write > 0 && !own.destructive) {
    throw new UsageError(
      `--mix ${own.mix} writes on the disk, and what is there is lost: ` +
        "add --destructive if that is meant",
    );
  }
  if (own.verify && (mix.write === 0 || mix.read === 0)) {
    throw new UsageError(
      "--verify reads what was written before: give a --mix with reads and " +
        "writes, as read=50,write=50",
    );
  }
  if (own.size % 512 !== 0) {
    throw new UsageError(
      `--size is ${own.size}, wanted a multiple of 512: the next one is ` +
        `${Math.ceil(own.size / 512) * 512}`,
    );
  }
  const options = {
    ...wireOptions(common),
    size: own.size,
    queues: common.queues,
    mix,
    sequential: own.order === "sequential",
    verify: own.verify,
    ...(own.range === undefined ? {} : { range: own.range }),
  };
  return () => BlockLoad.open(common["socket-path"], options);
}

function netLoad(
  common: LoadValues,
  own: OptionValues<typeof NET_OPTIONS>,
): () => Promise<Load> {
  const options = {
    ...wireOptions(common),
    sizes: parseSizes(own.size),
    pairs: common.queues,
    direction: own.direction,
  };
  return () => NetLoad.open(common["socket-path"], options);
}

function rngLoad(
  common: LoadValues,
  own: OptionValues<typeof RNG_OPTIONS>,
): () => Promise<Load> {
  if (common.queues > 1) {
    throw new UsageError(
      `--queues is ${common.queues}, but an entropy device has one ring: ` +
        "leave it out",
    );
  }
  const options = { ...wireOptions(common), size: own.size };
  return () => RngLoad.open(common["socket-path"], options);
}

/** The loads by device: one line each. */
export const LOADS: Readonly<Record<string, LoadKind>> = {
  block: kind("Reads, writes and flushes of a disk", BLOCK_OPTIONS, blockLoad),
  net: kind("Frames over a network card", NET_OPTIONS, netLoad),
  rng: kind("Random bytes of an entropy device", RNG_OPTIONS, rngLoad),
};

function kind<S extends Readonly<Record<string, OptionSpec>>>(
  summary: string,
  options: S,
  prepare: (common: LoadValues, own: OptionValues<S>) => () => Promise<Load>,
): LoadKind {
  return {
    summary,
    options,
    prepare: (common, own) => prepare(common, own as OptionValues<S>),
  };
}

function wireOptions(common: LoadValues): WireOptions {
  const ringSize = common["ring-size"];
  if (ringSize !== undefined && common.ring === "split") {
    const below = 2 ** Math.floor(Math.log2(ringSize));
    if (below !== ringSize) {
      throw new UsageError(
        `--ring-size is ${ringSize}, but split rings have a power of two: ` +
          `the next one below is ${below}`,
      );
    }
  }
  return {
    depth: common.depth,
    ring: common.ring,
    indirect: common.indirect,
    polled: common.polled,
    stallMs: common["stall-limit"] * 1000,
    seed: common.seed,
    ...(ringSize === undefined ? {} : { ringSize }),
  };
}

/** `read=70,write=30` as parts. Throws a UsageError. */
export function parseMix(text: string): BlockMix {
  const mix = { read: 0, write: 0, flush: 0 };
  const seen = new Set<string>();
  for (const part of text.split(",")) {
    const match = /^(read|write|flush)(?:=([0-9]{1,5}))?$/.exec(part);
    const name = match?.[1] as keyof BlockMix | undefined;
    if (name === undefined || seen.has(name)) {
      throw new UsageError(
        `--mix has "${part}", wanted read, write and flush once each, with ` +
          "their parts: as read=70,write=20,flush=10",
      );
    }
    seen.add(name);
    mix[name] = Number(match![2] ?? 1);
  }
  const sum = mix.read + mix.write + mix.flush;
  if (sum >= 1 && sum <= MIX_MAX) return mix;
  throw new UsageError(
    `--mix has parts of ${sum} in all, wanted 1 to ${MIX_MAX}: say percents`,
  );
}

/** `64,1514` as sizes of frames. Throws a UsageError. */
export function parseSizes(text: string): number[] {
  const sizes = text.split(",").map((part) =>
    /^[0-9]{1,6}$/.test(part) ? Number(part) : NaN
  );
  for (const [i, size] of sizes.entries()) {
    if (size >= FRAME_MIN && size <= FRAME_MAX) continue;
    throw new UsageError(
      `--size has "${text.split(",")[i]}", wanted bytes of a frame, ` +
        `${FRAME_MIN} to ${FRAME_MAX}, as 64,1514`,
    );
  }
  if (sizes.length <= 64) return sizes;
  throw new UsageError(
    `--size has ${sizes.length} sizes, wanted 64 at most: leave some out`,
  );
}
