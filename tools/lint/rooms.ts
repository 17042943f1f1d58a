/**
 * The rooms of the house, their ranks, and who may import whom. A change of
 * the architecture is a change of this table and of docs/architecture.md.
 *
 * @module
 */

/** A folder (ending with a slash) or a file, and its rank. */
export interface Room {
  /** From the root of the repository. */
  readonly path: string;
  /** A room imports rooms of lower rank, and itself. */
  readonly rank: number;
  /** Rooms of the same rank that it may import. */
  readonly peers?: readonly string[];
}

/** The first room whose path a file starts with is the file's. */
const ROOMS: readonly Room[] = [
  { path: "main.ts", rank: 8 },
  { path: "mod.ts", rank: 8 },
  { path: "src/cli/", rank: 7 },
  { path: "src/check/", rank: 6 },
  { path: "src/load/", rank: 6 },
  { path: "src/testing/", rank: 5 },
  { path: "src/server/", rank: 4 },
  { path: "devices/mod.ts", rank: 4, peers: ["devices/"] },
  { path: "devices/", rank: 4 },
  { path: "src/vhost_user/", rank: 3 },
  { path: "src/device/", rank: 3 },
  { path: "src/virtqueue/", rank: 2 },
  { path: "src/memory/", rank: 1, peers: ["src/io/"] },
  { path: "src/io/", rank: 1 },
  {
    path: "src/ffi/",
    rank: 0,
    peers: ["src/assert.ts", "src/errors.ts", "src/log.ts"],
  },
  { path: "src/std/", rank: 0 },
  { path: "src/assert.ts", rank: 0 },
  { path: "src/errors.ts", rank: 0 },
  { path: "src/log.ts", rank: 0, peers: ["src/printable.ts"] },
  { path: "src/printable.ts", rank: 0 },
  { path: "deno.json", rank: 0 },
];

/** What may import everything, and is imported by nothing below. */
const OUTSIDE = ["tests/", "bench/", "tools/"];

/** The tools that drive a back-end, with the drivers of src/testing. */
const DRIVERS = ["src/check/", "src/load/"];

/** Whether `path` lies outside the house: tests, benchmarks and tools. */
export function isOutside(path: string): boolean {
  return OUTSIDE.some((folder) => path.startsWith(folder));
}

/** The room of `path`; each device has its own. Null where there is none. */
export function roomOf(path: string): Room | null {
  const room = ROOMS.find((room) => path.startsWith(room.path));
  if (room === undefined) return null;
  if (room.path !== "devices/") return room;
  const device = path.slice(0, path.indexOf("/", room.path.length) + 1);
  return device === "" ? null : { path: device, rank: room.rank };
}

/** Why a file in the room `from` can't import one in the room `to`, or "". */
export function objection(from: Room, to: Room): string {
  if (from.path === to.path) return "";
  if (to.path === "src/testing/" && !DRIVERS.includes(from.path)) {
    return "Production code can't import src/testing";
  }
  if (to.rank < from.rank) return "";
  if (to.rank === from.rank) {
    const peers = from.peers ?? [];
    if (peers.some((peer) => to.path.startsWith(peer))) return "";
  }
  return `${from.path} has rank ${from.rank} and can't import ${to.path} ` +
    `of rank ${to.rank}: imports go down only`;
}
