/**
 * Checks of a driver that means harm by its descriptors: the back-end must
 * serve the next one.
 *
 * @module
 */
import { VIRTIO_F_INDIRECT_DESC } from "../../device/features.ts";
import type { AddOptions, RawDescriptor } from "../../testing/ring_driver.ts";
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
} from "../../virtqueue/layout.ts";
import type { Check } from "../check.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest, GuestOptions } from "../guest.ts";
import { hostileCheck } from "../harm.ts";
import { cut, place, untouched } from "../layout.ts";

const DESCRIPTORS = "virtio 1.3 §2.7.5";
const INDIRECT = "virtio 1.3 §2.7.5.3";
const NEXT = VIRTQ_DESC_F_NEXT;

/** Breaks what was staged with `head`. */
type Amendment = (guest: Guest, head: number) => void;

/** Publishes a request that `amend` has broken. */
async function publishBroken(
  run: CheckRun,
  amend: Amendment,
  add: AddOptions = {},
  options: GuestOptions = {},
): Promise<void> {
  const guest = await run.guest(options);
  await guest.works();
  const request = guest.workload.request();
  const head = guest.ring.add(request.segments, add);
  amend(guest, head);
  guest.ring.publish("always");
  await run.quiet();
}

/** One descriptor of a usual request is other than it should be. */
function broken(
  id: string,
  title: string,
  raw: (guest: Guest, head: number) => Partial<RawDescriptor>,
  split = false,
): Check {
  return hostileCheck(id, title, DESCRIPTORS, (run) => {
    if (split) run.needsSplit();
    return publishBroken(run, (guest, head) => {
      guest.ring.driver.amend(head, 0, raw(guest, head));
    });
  });
}

/** As `broken`, of a request in an indirect table. */
function brokenTable(
  id: string,
  title: string,
  amend: Amendment,
  split = false,
): Check {
  return hostileCheck(id, title, INDIRECT, (run) => {
    if (split) run.needsSplit();
    run.needs(VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC");
    return publishBroken(run, amend, { indirect: true });
  });
}

/** The descriptor of the table is `raw`. */
function table(raw: Partial<RawDescriptor>): Amendment {
  return (guest, head) => guest.ring.driver.amend(head, 0, raw);
}

export const HOSTILE_CHAIN_CHECKS: readonly Check[] = [
  broken("loop", "a descriptor that is followed by itself", (_, head) => ({
    flags: NEXT,
    next: head,
  }), true),
  broken("next-beyond", "a next descriptor beyond the table", ({ ring }) => ({
    flags: NEXT,
    next: ring.driver.size,
  }), true),
  broken("next-far-beyond", "next descriptor 65535", () => ({
    flags: NEXT,
    next: 0xffff,
  }), true),
  broken("address-outside", "a buffer outside the memory", () => ({
    address: 0x7fff_0000_0000n,
  })),
  broken("address-wraps", "a buffer that ends beyond 2^64", () => ({
    address: 0xffff_ffff_ffff_fff8n,
  })),
  broken("address-zero", "a buffer at address 0", () => ({ address: 0 })),
  broken("size-huge", "a buffer of 4 GiB", () => ({ size: 0xffff_ffff })),
  broken("size-zero", "a buffer of no bytes", () => ({ size: 0 })),
  broken("flags-all", "a descriptor with all flags", () => ({ flags: 0xffff })),
  hostileCheck(
    "into-hole",
    "a buffer that goes from a region into a hole",
    DESCRIPTORS,
    (run) =>
      publishBroken(run, (guest, head) => {
        const { guestAddress, size } = guest.memory.regions[0]!;
        const address = guestAddress + size - 4;
        guest.ring.driver.amend(head, 0, { address });
      }),
  ),
  hostileCheck(
    "on-the-ring",
    "a buffer that is the ring itself",
    DESCRIPTORS,
    (run) =>
      publishBroken(run, (guest, head) => {
        const { driver } = guest.ring;
        const last = guest.workload.descriptors - 1;
        driver.amend(head, last, { address: driver.deviceArea, size: 256 });
      }),
  ),
  hostileCheck(
    "readable-after-writable",
    "a buffer to be read behind one to be written",
    "virtio 1.3 §2.7.4.2",
    async (run) => {
      const guest = await run.guest();
      const { memory, ring } = guest;
      const at = place(memory, untouched(512));
      ring.add([
        ...cut(at, [16], false),
        ...cut(at + 16, [1], true),
        ...cut(at + 32, [64], false),
        ...cut(at + 96, [64], true),
      ]);
      ring.publish("always");
      await run.quiet();
    },
  ),
  brokenTable(
    "indirect-empty",
    "an indirect table of no bytes",
    table({ size: 0 }),
  ),
  brokenTable(
    "indirect-odd",
    "an indirect table of 17 bytes",
    table({ size: 17 }),
  ),
  brokenTable(
    "indirect-huge",
    "an indirect table of 4 GiB",
    table({ size: 0xffff_fff0 }),
  ),
  brokenTable(
    "indirect-outside",
    "an indirect table outside the memory",
    table({ address: 0x7fff_0000_0000n }),
  ),
  brokenTable(
    "indirect-and-next",
    "an indirect table that is followed by a descriptor",
    table({ flags: VIRTQ_DESC_F_INDIRECT | NEXT, next: 1 }),
    true,
  ),
  brokenTable(
    "indirect-nested",
    "an indirect table in an indirect table",
    (guest, head) => {
      const { driver } = guest.ring;
      driver.amend(head, 1, { flags: VIRTQ_DESC_F_INDIRECT, size: 64 });
    },
  ),
  brokenTable(
    "indirect-loop",
    "a loop in an indirect table",
    (guest, head) => {
      guest.ring.driver.amend(head, 1, { flags: NEXT, next: 0 });
    },
    true,
  ),
  brokenTable(
    "indirect-next-beyond",
    "a next descriptor beyond its indirect table",
    (guest, head) => {
      guest.ring.driver.amend(head, 1, { flags: NEXT, next: 1000 });
    },
    true,
  ),
  hostileCheck(
    "indirect-itself",
    "an indirect table that is the descriptor table",
    INDIRECT,
    (run) => {
      run.needs(VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC");
      return publishBroken(run, (guest, head) => {
        const { driver } = guest.ring;
        const address = driver.descriptorArea;
        driver.amend(head, 0, { address, size: 16 * driver.size });
      }, { indirect: true });
    },
  ),
  hostileCheck(
    "indirect-not-agreed",
    "an indirect table that was not agreed on",
    INDIRECT,
    (run) => {
      const without = VIRTIO_F_INDIRECT_DESC;
      return publishBroken(run, () => {}, { indirect: true }, { without });
    },
  ),
];
