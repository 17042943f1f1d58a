/**
 * Checks of how a request is cut into descriptors: however the driver likes.
 *
 * @module
 */
import { VIRTIO_F_INDIRECT_DESC } from "../../device/features.ts";
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_WRITE,
} from "../../virtqueue/layout.ts";
import type { Check } from "../check.ts";
import { expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import { bytewise, type Layout, shattered, usual, whole } from "../layout.ts";

const FRAMING = "virtio 1.3 §2.7.4.1";
const INDIRECT = "virtio 1.3 §2.7.5.3.2";
const USED = "virtio 1.3 §2.7.8.2";

async function worksAs(
  run: CheckRun,
  layouts: readonly Layout[],
  indirect: boolean | number = false,
): Promise<void> {
  if (indirect !== false) run.needs(VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC");
  const guest = await run.guest({ ringSize: 256 });
  for (const layout of layouts) {
    const request = guest.workload.request(layout);
    await guest.ring.exchange(request, { indirect });
  }
}

function shatteredLayouts(run: CheckRun, count: number): Layout[] {
  return Array.from({ length: count }, () => ({
    readable: shattered(run.prng, 1 + run.prng.below(16)),
    writable: shattered(run.prng, 1 + run.prng.below(16)),
  }));
}

export const CHAIN_CHECKS: readonly Check[] = [
  {
    id: "chain/joined",
    title: "all that is read is in one descriptor, all that is written in one",
    section: FRAMING,
    level: "MUST",
    run: (run) => worksAs(run, [{ readable: whole, writable: whole }]),
  },
  {
    id: "chain/bytes-read",
    title: "what is read comes in descriptors of one byte each",
    section: FRAMING,
    level: "MUST",
    run: (run) => worksAs(run, [{ readable: bytewise(40) }]),
  },
  {
    id: "chain/bytes-written",
    title: "what is written goes into descriptors of one byte each",
    section: FRAMING,
    level: "MUST",
    devices: ["block", "rng"],
    run: (run) => worksAs(run, [{ writable: bytewise(40) }]),
  },
  {
    id: "chain/shattered",
    title: "200 requests are cut at random places",
    section: FRAMING,
    level: "MUST",
    run: (run) => worksAs(run, shatteredLayouts(run, 200)),
  },
  {
    id: "chain/as-long-as-the-ring",
    title: "a chain has as many descriptors as the ring",
    section: "virtio 1.3 §2.7.5.3.1",
    level: "MUST",
    run: longest,
  },
  {
    id: "chain/indirect",
    title: "a request is in an indirect table",
    section: INDIRECT,
    level: "MUST",
    run: (run) => worksAs(run, [{}, {}, {}], true),
  },
  {
    id: "chain/indirect-shattered",
    title: "200 requests are cut at random places, in indirect tables",
    section: INDIRECT,
    level: "MUST",
    run: (run) => worksAs(run, shatteredLayouts(run, 200), true),
  },
  {
    id: "chain/indirect-after-direct",
    title: "descriptors come before that of the indirect table",
    section: INDIRECT,
    level: "MUST",
    devices: ["block", "net"],
    run: (run) => {
      run.needsSplit();
      return worksAs(run, [{ readable: bytewise(8) }], 3);
    },
  },
  {
    id: "chain/indirect-write-flag",
    title: "WRITE on the descriptor of an indirect table is ignored",
    section: INDIRECT,
    level: "MUST",
    run: writeFlagIgnored,
  },
  {
    id: "chain/used-length",
    title: "the used length is what was written",
    section: USED,
    level: "MUST",
    devices: ["block", "net"],
    run: async (run) => {
      const guest = await run.guest();
      for (const shape of [usual, whole]) {
        const request = guest.workload.request({ writable: shape });
        const written = await guest.ring.exchange(request);
        expectEqual(written, request.room, "The used length");
      }
    },
  },
];

async function longest(run: CheckRun): Promise<void> {
  const guest = await run.guest({ ringSize: 64 });
  const plain = guest.workload.request();
  const spare = 64 - plain.segments.length;
  // Whichever side has the bytes for so many pieces.
  const readable = guest.workload.ring === 1;
  const request = readable
    ? guest.workload.request({ readable: bytewise(63) })
    : guest.workload.request({
      writable: bytewise(Math.min(spare + 1, plain.room - 1)),
    });
  await guest.ring.exchange(request);
  await guest.works();
}

async function writeFlagIgnored(run: CheckRun): Promise<void> {
  run.needs(VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC");
  const guest = await run.guest();
  const request = guest.workload.request();
  const head = guest.ring.add(request.segments, { indirect: true });
  const flags = VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_WRITE;
  guest.ring.driver.amend(head, 0, { flags });
  guest.ring.publish();
  request.check(await guest.ring.finish(head));
}
