/**
 * SIGKILL in mid-I/O, over and over: the next back-end finds on record what the
 * last one had in flight, so that no request is lost, none is given back twice,
 * and the disk holds what it should.
 *
 * `RINGSIDE_KILLS` is how often for each kind of ring.
 */
import { assert } from "@std/assert";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from "../../src/device/features.ts";
import { Prng } from "../../src/testing/prng.ts";
import { BackEnd, ringside } from "../vm/back_end.ts";
import { Survivor } from "./support/survivor.ts";

const KILLS = Number(Deno.env.get("RINGSIDE_KILLS") ?? 25);
const FEATURES = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX |
  VIRTIO_F_INDIRECT_DESC | (1n << 9n); // FLUSH: the cache is the kernel's.
const KINDS = [
  { name: "split", features: FEATURES },
  { name: "packed", features: FEATURES | VIRTIO_F_RING_PACKED },
];

for (const { name, features } of KINDS) {
  Deno.test({
    name: `[C58] ${KILLS} times SIGKILL in mid-I/O on ${name} rings`,
    fn: () => killOverAndOver(features, name === "packed"),
  });
}

async function killOverAndOver(features: bigint, packed: boolean) {
  const prng = Prng.fromEnvironment("SIGKILL");
  const directory = Deno.makeTempDirSync({ prefix: "ringside-kill-" });
  const file = `${directory}/disk.img`;
  const socketPath = `${directory}/disk.sock`;
  using survivor = new Survivor(
    { features, queueCount: 2, queueSize: 128, depth: 24, span: 32 },
    prng,
  );
  Deno.writeFileSync(file, new Uint8Array(survivor.sectors * 512));
  try {
    for (let life = 0; life <= KILLS; life++) {
      await using backEnd = await BackEnd.start(ringside, {
        socketPath,
        file,
        queueCount: 2,
        dataPlane: prng.pick(["inline", "worker"]),
        ioEngine: prng.pick(["io_uring", "sync"]),
      });
      await survivor.connect(socketPath);
      assert(survivor.isPacked === packed, "The rings are of another kind");
      if (life === KILLS) {
        await survivor.finish();
        break;
      }
      await survivor.work(prng.below(400));
      loseTime(prng.below(2000));
      await backEnd.stop("SIGKILL");
      survivor.disconnect();
      survivor.compare(Deno.readFileSync(file));
    }
    survivor.compare(Deno.readFileSync(file));
    assert(survivor.answered > KILLS);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Lets the back-end work for some microseconds, so that it dies anywhere. */
function loseTime(microseconds: number): void {
  const end = performance.now() + microseconds / 1000;
  while (performance.now() < end);
}
