/**
 * A disk of ours on more and more rings, each on a worker of its own: what
 * another one costs.
 *
 * @module
 */
import { type Contender, type Place, ringside, WORKERS } from "./contender.ts";

/** Rings, and workers for them. */
export const QUEUE_COUNTS: readonly number[] = [1, 2, 4];

/** The disk that `options` describe, on each count of rings. */
function onQueues(options: (place: Place) => string[]): Contender[] {
  return QUEUE_COUNTS.map((count) => ({
    ...ringside(queueName(count), WORKERS, (place) => [
      ...["block", ...options(place)],
      ...["--num-queues", `${count}`, "--queue-threads", `${count}`],
    ]),
    load: ["--queues", `${count}`],
  }));
}

/** What the contender with `count` rings is called. */
export function queueName(count: number): string {
  return `ringside, ${count} ${count === 1 ? "queue" : "queues"}`;
}

/** Without a disk. */
export const NULL_QUEUES: readonly Contender[] = onQueues(
  () => ["--blk-null", "1G"],
);

/** On a file in the page cache. */
export const FILE_QUEUES: readonly Contender[] = onQueues(
  ({ file }) => ["--blk-file", file],
);
