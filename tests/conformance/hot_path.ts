/**
 * Runs so many chains through rings of one kind, once to warm up and once to be
 * looked at. To be run in a process of its own with V8's traces on; a forced
 * collection marks the start of each part that counts, and the end.
 *
 *     hot_path.ts split|packed MODE CHAINS PARTS
 *
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { DirtyLog, logSizeFor } from "../../src/memory/dirty_log.ts";
import { DriverMemory } from "../../src/testing/mod.ts";
import type { InflightArea, Virtqueue } from "../../src/virtqueue/mod.ts";
import { type LaidOutOptions, LaidOutRing } from "./laid_out_ring.ts";
import { scatteredMemory, scatteredPages } from "./scattered_memory.ts";

/** Chains that are published at a time. */
const BATCH = 64;
/** Beyond 4 GiB, where no address is a small integer, nor its lower half. */
const HIGH = 0x2_c000_0000;
const WRITE = 2;

const LOW_SIZE = 1 << 17;
const HIGH_SIZE = 1 << 22;
const iovecs = new IovecList(16);

/** As of a block device: a header, data, a status. */
const REQUEST = [
  { flags: 0, size: 16 },
  { flags: WRITE, size: 4096 },
  { flags: WRITE, size: 1 },
];

/** Publishes one batch and serves it as a block device would. */
function round(ring: LaidOutRing): void {
  const { queue } = ring;
  ring.publish(BATCH);
  queue.disableKicks();
  while (queue.pop()) serve(queue);
  if (!queue.flush() || queue.enableKicks()) throw new Error("No call");
}

function serve(queue: Virtqueue): void {
  const { chain } = queue;
  const { reader, writer } = chain;
  const type = reader.readU32();
  reader.skip(4);
  const sector = reader.readU64();
  const data = writer.size - 1;
  const count = writer.takeIovecs(iovecs, 0, data);
  if (type !== 0 || sector !== 0 || count === 0) throw new Error("Not so");
  writer.locate(data);
  writer.writeU8(0);
  queue.push(chain.head, writer.written);
}

function rounds(rings: readonly LaidOutRing[], count: number): void {
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < rings.length; j++) round(rings[j]!);
  }
}

/** What the rings do beside their work. */
type Mode =
  | "plain"
  | "regions"
  | "inflight"
  | "logged"
  | "scattered"
  | "everything";

/** What a mode asks of the next ring, on top of what all have. */
function extras(mode: Mode, memory: DriverMemory): Partial<LaidOutOptions> {
  const all = mode === "everything";
  const log = all || mode === "logged" ? openLog() : null;
  const inflight = all || mode === "inflight" ? openArea() : undefined;
  const guest = all || mode === "scattered"
    ? scatteredMemory(scatteredPages(memory), log)
    : memory.guestMemory();
  guest.log = log;
  return { guest, ...(inflight && { inflight }), ...(log && { usedLog: 0 }) };
}

function openArea(): InflightArea {
  const { address, size } = Mapping.anonymous(1 << 16);
  return { address, size };
}

function openLog(): DirtyLog {
  const { address, size } = Mapping.anonymous(logSizeFor(HIGH + 3 * HIGH_SIZE));
  return new DirtyLog({ address, size, eventFd: -1 });
}

if (import.meta.main) {
  const collect = (globalThis as unknown as { gc(): void }).gc;
  const [kind, mode, count, partCount] = Deno.args;
  using memory = DriverMemory.shared([
    { guestAddress: 0x10000, size: LOW_SIZE },
    { guestAddress: HIGH, size: HIGH_SIZE },
    { guestAddress: HIGH + 2 * HIGH_SIZE, size: HIGH_SIZE },
  ]);
  const rings = [false, true].flatMap((eventIndex) =>
    [false, true].flatMap((indirect) =>
      [false, true].map((inOrder) =>
        LaidOutRing.of(memory, REQUEST, BATCH, {
          packed: kind === "packed",
          eventIndex,
          indirect,
          inOrder,
          ringRegion: 0,
          // Five a chain: so that a table is in another one than the last.
          bufferRegions: mode === "regions" ? [1, 2, 1, 2, 2] : [1],
          ...extras(mode as Mode, memory),
        })
      )
    )
  );
  const total = Number(count) / BATCH / rings.length;
  for (let i = 0; i < 100; i++) rounds(rings, Math.ceil(total / 100));
  collect();
  const parts = Number(partCount);
  for (let part = 0; part < parts; part++) {
    for (let i = 0; i < 100; i++) {
      rounds(rings, Math.ceil(total / parts / 100));
    }
    collect();
  }
  // Nothing is printed here: what V8 says comes through a buffer of the C library,
  // and a line of ours would fall into the middle of one of its lines.
  const malformed = rings.map((ring) => ring.queue.malformed);
  if (malformed.some((count) => count !== 0)) {
    throw new Error(`Malformed chains, by ring: ${malformed}`);
  }
}
