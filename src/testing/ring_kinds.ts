/**
 * The kinds of rings, for a suite that runs on each.
 *
 * @module
 */
import { VIRTIO_F_RING_PACKED } from "../device/features.ts";

/** A kind of ring. */
export interface RingKind {
  /** As in the names of tests. */
  readonly name: string;
  /** The features that ask for it. */
  readonly features: bigint;
}

/**
 * The kinds there are: a device can't tell which it has, so its tests run on
 * each of them.
 *
 * @example The same test on each kind of ring
 * ```ts
 * import { FakeDriver, RING_KINDS } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * for (const kind of RING_KINDS) {
 *   using fake = FakeDriver.over(() => ({
 *     drain(queue) {
 *       while (queue.pop()) queue.push(queue.chain.head, 0);
 *     },
 *   }), { kind });
 *   const answer = await fake.request([{ bytes: Uint8Array.of(1) }]);
 *   assertEquals(answer.written, 0, kind.name);
 * }
 * ```
 */
export const RING_KINDS: readonly RingKind[] = [
  { name: "split", features: 0n },
  { name: "packed", features: VIRTIO_F_RING_PACKED },
];
