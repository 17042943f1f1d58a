/**
 * Mistakes that somebody could make in ringside, and the target that is to find
 * each.
 *
 * @module
 */

/** A place where one text becomes another. */
export interface Break {
  /** What goes wrong then. */
  readonly what: string;
  /** The target of the fuzzer that is to find it. */
  readonly target: string;
  /** The file, from the root of the repository. */
  readonly file: string;
  /** What is there, once. */
  readonly from: string;
  /** What is there instead. */
  readonly to: string;
}

/** In the pop of a packed ring without a record. */
const WAIT = "if (this.#counts[walk.head] !== 0) return this.#wait(walk.head);";
const TAKE = "if (this.#take(walk.head, walk.count, isSound)) return true;";

const VIRTQUEUE: readonly Break[] = [
  {
    what: "a head beyond the ring is taken",
    target: "ring-split",
    file: "src/virtqueue/split.ts",
    from: "if (head >= this.size) return this.#breakAtHead(head);",
    to: "",
  },
  {
    what: "an available index is believed, however far it went",
    target: "ring-split",
    file: "src/virtqueue/split.ts",
    from: "if (count > this.size) return this.#breakAtIndex(seen);",
    to: "",
  },
  {
    what: "with EVENT_IDX there is a call too many",
    target: "ring-split",
    file: "src/virtqueue/split.ts",
    from: "((next - event - 1) & 0xffff) < staged",
    to: "((next - event - 1) & 0xffff) <= staged",
  },
  {
    what: "a head is read twice: as it was checked, and as it is by then",
    target: "race-split",
    file: "src/virtqueue/split.ts",
    from: "this.#table.gather(head)",
    to:
      "this.#table.gather(this.#avail[AVAIL_RING + (position & this.#mask)]!)",
  },
  {
    what: "a next beyond the table is followed",
    target: "ring-split",
    file: "src/virtqueue/descriptor_table.ts",
    from: "if (index >= limit) return false;",
    to: "",
  },
  {
    what: "with IN_ORDER chains are given back before those in front of them",
    target: "ring-split",
    file: "src/virtqueue/in_order.ts",
    from: "if (this.#done[head] === 0) return NONE;",
    to: "",
  },
  {
    what: "a readable buffer may follow a writable one",
    target: "ring-split",
    file: "src/virtqueue/chain.ts",
    from: "else if (this.#writable) return false;",
    to: "",
  },
  {
    what: "a buffer id beyond the ring is taken",
    target: "ring-packed",
    file: "src/virtqueue/descriptor_ring.ts",
    from: "return head < this.#size || this.#breakAtHead(start, head);",
    to: "return true;",
  },
  {
    what: "a packed ring is one longer than it is",
    target: "ring-packed",
    file: "src/virtqueue/packed.ts",
    from: "if (next >= this.size) {\n      next -= this.size;",
    to: "if (next > this.size) {\n      next -= this.size;",
  },
  {
    what: "a buffer id that is in flight is taken again",
    target: "ring-packed",
    file: "src/virtqueue/packed.ts",
    from: `${WAIT}\n      ${TAKE}`,
    to: TAKE,
  },
  {
    what: "a buffer id is read twice: as it was checked, and as it is by then",
    target: "race-packed",
    file: "src/virtqueue/packed.ts",
    from: `${WAIT}\n      ${TAKE}`,
    to: `${WAIT}
      const head = this.#descriptors[4 * at + 3]! & 0xffff;
      if (this.#take(head, walk.count, isSound)) return true;`,
  },
];

const MESSAGES: readonly Break[] = [
  {
    what: "a message that takes REPLY_ACK away is not acknowledged",
    target: "messages",
    file: "src/vhost_user/session.ts",
    from: "} else if (asked || this.#mustAck(message)) {",
    to: "} else if (this.#mustAck(message)) {",
  },
  {
    what: "descriptors that came with a message are left open",
    target: "messages",
    file: "src/vhost_user/session.ts",
    from: "closeFds(message.fds);",
    to: "",
  },
  {
    what: "regions of memory may overlap",
    target: "messages",
    file: "src/memory/memory_table.ts",
    from: "for (const other of taken) checkApart(spec, other);",
    to: "",
  },
  {
    what: "memory that was replaced stays mapped",
    target: "messages",
    file: "src/memory/memory_table.ts",
    from: "this.#generation = generation;\n        unmap(gone);",
    to: "this.#generation = generation;",
  },
];

const DEVICES: readonly Break[] = [
  {
    what: "the last sector of a disk can't be read or written",
    target: "block",
    file: "devices/block/request.ts",
    from: "if (sector > disk.sectors - size / SECTOR_SIZE)",
    to: "if (sector >= disk.sectors - size / SECTOR_SIZE)",
  },
  {
    what: "a disk says that it wrote no status",
    target: "block",
    file: "devices/block/request.ts",
    from: "this.#written[slot] = size + 1;\n    if (size === 0)",
    to: "this.#written[slot] = size;\n    if (size === 0)",
  },
  {
    what: "a frame is sent without its last byte",
    target: "net",
    file: "devices/net/transmit.ts",
    from: "const rest = reader.remaining;",
    to: "const rest = reader.remaining - 1;",
  },
  {
    what: "without MRG_RXBUF a frame is spread over two buffers",
    target: "net",
    file: "devices/net/receive.ts",
    from: "if (!this.mergeable && this.#end > this.#first) return;",
    to: "",
  },
  {
    what: "requests for no bytes of entropy are never answered",
    target: "rng",
    file: "devices/rng/queue.ts",
    from: "if (taken === 0 && size > 0) {",
    to: "if (taken === 0) {",
  },
];

/** All of them. */
export const BREAKS: readonly Break[] = [...VIRTQUEUE, ...MESSAGES, ...DEVICES];

/** `text` with `mistake` made. Throws where it is not there, once. */
export function broken(text: string, { file, from, to }: Break): string {
  const parts = text.split(from);
  if (parts.length === 2) return parts.join(to);
  throw new Error(
    `${file} has ${parts.length - 1} times "${from}", wanted once: bring ` +
      "tests/fuzz/breaks/breaks.ts up to date",
  );
}
