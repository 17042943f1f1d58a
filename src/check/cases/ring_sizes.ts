/**
 * Checks of rings of every size.
 *
 * @module
 */
import { VIRTIO_F_INDIRECT_DESC } from "../../device/features.ts";
import type { Check } from "../check.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";
import { NackError } from "../../vhost_user/frontend.ts";
import { batches, capacityOf } from "./rings.ts";

/** virtio 1.3 §2.7: a power of two, at most 32768. */
const SIZES = [1, 2, 4, 16, 128, 256, 1024, 4096, 32768];
/** QEMU and its library take no more, and few drivers want more. */
const COMMON_MAX = 1024;

async function worksWith(run: CheckRun, ringSize: number): Promise<void> {
  const guest = await startedWith(run, ringSize);
  if (capacityOf(guest) > 0) {
    // Twice around, so that each entry was used again; once takes long enough
    // where the ring is large.
    const rounds = Math.max(2, Math.ceil(64 / ringSize));
    await batches(guest, ringSize > COMMON_MAX ? 1 : rounds);
    return;
  }
  const indirect = (guest.features & VIRTIO_F_INDIRECT_DESC) !== 0n;
  if (!indirect) run.skip("a request does not fit, and there is no indirect");
  for (let i = 0; i < 2 * ringSize + 1; i++) {
    await guest.ring.exchange(guest.workload.request(), { indirect });
  }
}

/** How large rings may be is for the back-end to say, by refusing. */
async function startedWith(run: CheckRun, ringSize: number): Promise<Guest> {
  try {
    return await run.guest({ ringSize, memory: 32 << 20 });
  } catch (error) {
    if (ringSize <= COMMON_MAX || !(error instanceof NackError)) throw error;
    return run.skip("the back-end refuses so many entries");
  }
}

export const RING_SIZE_CHECKS: readonly Check[] = SIZES.map((size) => ({
  id: `ring-size/${size}`,
  title: `a ring of ${size} ${size === 1 ? "entry" : "entries"} works`,
  section: "virtio 1.3 §2.7",
  level: size <= COMMON_MAX ? "MUST" : "SHOULD",
  patience: size > COMMON_MAX ? 6 : 1,
  run: (run) => worksWith(run, size),
}));
