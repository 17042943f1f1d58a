/**
 * The back-ends of cards that send every frame back, and of entropy.
 *
 * @module
 */
import { type Contender, ringside, WORKERS } from "./contender.ts";

/** Megabytes of plain memory, without huge pages. */
const MEMORY_MB = 512;

/** Frames come back: ours from its loopback, the peer's with swapped addresses. */
export const LOOPBACKS: readonly Contender[] = [
  ringside("ringside", WORKERS, () => ["net", "--backend", "loopback"]),
  {
    name: "testpmd net_vhost",
    command: ({ socketPath }) => [
      ...["dpdk-testpmd", "--no-huge", "-m", `${MEMORY_MB}`, "--no-pci"],
      ...["--no-telemetry", "--file-prefix=ringside-bench"],
      `--vdev=net_vhost0,iface=${socketPath},queues=1`,
      // The prompt keeps it from ending with its input.
      ...["--", "-i", "--auto-start", "--forward-mode=macswap"],
      ...["--nb-cores=1", "--total-num-mbufs=16384"],
    ],
  },
];

/** Random bytes of the host's kernel. */
export const SOURCES: readonly Contender[] = [
  ringside("ringside", WORKERS, () => ["rng"]),
  {
    name: "vhost-device-rng",
    // It puts a 0 behind the path that it is given.
    command: ({ socketPath }) => [
      ...["vhost-device-rng", "-s", socketPath.replace(/0$/, "")],
      ...["-f", "/dev/urandom"],
    ],
  },
];
