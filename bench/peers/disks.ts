/**
 * The back-ends of disks.
 *
 * @module
 */
import { type Contender, type Place, ringside, WORKERS } from "./contender.ts";

/** The size of a disk that is none, for both sides. */
const NULL_SIZE = 1 << 30;

const ofFile = (...options: string[]) => ({ file }: Place): string[] => [
  ...["block", "--blk-file", file, ...options],
];

/** The peer, with an I/O thread. */
function storageDaemon(
  name: string,
  blockdev: (place: Place) => string,
  pollMaxNs?: number,
): Contender {
  const poll = pollMaxNs === undefined ? "" : `,poll-max-ns=${pollMaxNs}`;
  return {
    name,
    command: (place) => [
      ...["qemu-storage-daemon", "--object", `iothread,id=thread${poll}`],
      ...["--blockdev", `${blockdev(place)},node-name=disk`],
      "--export",
      "type=vhost-user-blk,id=export,addr.type=unix," +
      `addr.path=${place.socketPath},node-name=disk,writable=on,iothread=thread`,
    ],
  };
}

const fileOf = ({ file }: Place) => `driver=file,filename=${file},aio=io_uring`;

/** On a file in the page cache: ours by default, then the peer by default. */
export const DISKS: readonly Contender[] = [
  ringside("ringside", WORKERS, ofFile()),
  storageDaemon("qemu-storage-daemon", fileOf),
  storageDaemon("qemu-storage-daemon, polling", fileOf, 1_000_000),
  ringside("ringside inline", ["--allow-ffi"], ofFile()),
];

/** On a file past the page cache. */
export const DIRECT_DISKS: readonly Contender[] = [
  ringside("ringside", WORKERS, ofFile("--direct")),
  storageDaemon(
    "qemu-storage-daemon",
    (place) => `${fileOf(place)},cache.direct=on`,
  ),
];

/** Without a disk: what the path alone costs. */
export const NULL_DISKS: readonly Contender[] = [
  ringside("ringside", WORKERS, () => ["block", "--blk-null", `${NULL_SIZE}`]),
  storageDaemon(
    "qemu-storage-daemon",
    () => `driver=null-co,size=${NULL_SIZE},read-zeroes=off`,
  ),
];
