// Data plane: memory ordering between device and driver.
/**
 * Plain loads and stores of typed arrays have no order that another processor
 * must see. Only the fields that hand over work go through these two; what lies
 * around them is plain. Both are sequentially consistent (`Atomics` works on
 * memory that is not a SharedArrayBuffer), which gives the third barrier that
 * rings need: a `release` followed by an `acquire` is a full fence, so "publish,
 * then look whether the other side waits" never misses, on either side.
 *
 * An `Atomics` call costs as much as a chain of descriptors: one a batch.
 *
 * @module
 */

/**
 * Loads `words[index]`; no later access happens before it. Pairs with the
 * driver's `virtio_wmb` before it stores `avail.idx`, and, after a `release`
 * of ours, with its `virtio_mb` between storing an index and reading the
 * device's wish for a notification.
 */
export function acquire(words: Uint16Array, index: number): number {
  return Atomics.load(words, index);
}

/**
 * Stores `value` in `words[index]`; no earlier access happens after it. Pairs
 * with the driver's `virtio_rmb` after it loads `used.idx`.
 */
export function release(
  words: Uint16Array,
  index: number,
  value: number,
): void {
  Atomics.store(words, index, value);
}

/**
 * As `acquire`, for the flags of a packed ring, which have an id beside them.
 * Signed: V8 allocates numbers of 2^31 and more to hand them over.
 */
export function acquire32(words: Int32Array, index: number): number {
  return Atomics.load(words, index);
}

/**
 * As `release`. Pairs with the driver's `virtio_rmb` after it sees the flags of
 * a used descriptor; after it, all that came before it is there too.
 */
export function release32(
  words: Int32Array,
  index: number,
  value: number,
): void {
  Atomics.store(words, index, value);
}

/**
 * Whether the processor keeps loads in their order. V8 does for typed arrays:
 * they are effects, which it does not move over each other.
 */
const LOADS_IN_ORDER = Deno.build.arch === "x86_64";

/**
 * Loads `words[index]`; no later load happens before it. Pairs with the driver's
 * `virtio_wmb` before it stores the flags of a descriptor. A packed ring has
 * such flags in every chain, where `Atomics` costs 7 ns
 * (bench/virtqueue_bench.ts). It is no fence after a store: that is `acquire32`.
 */
export function look(words: Int32Array, index: number): number {
  return LOADS_IN_ORDER ? words[index]! : Atomics.load(words, index);
}
