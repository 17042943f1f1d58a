/**
 * The device side of the two-thread tests: answers each chain with what it
 * read, turned upside down.
 *
 * @module
 */
import { GuestMemory, openVirtqueue } from "../../src/virtqueue/mod.ts";
import type {
  MemoryLayout,
  Virtqueue,
  VirtqueueConfig,
} from "../../src/virtqueue/mod.ts";

/** What the worker is told, once. */
export interface RingWorkerSetup {
  layout: MemoryLayout;
  config: VirtqueueConfig;
  /** Chains to answer. */
  count: number;
  /** Sleep while there are none, rather than look again. */
  sleeps: boolean;
  /** Counters of kicks and calls, see {@linkcode WORD}. */
  words: Int32Array;
}

/** What the words shared with the worker are for. */
export const WORD = { kicks: 0, calls: 1, rest: 2 } as const;

/** Idle looks after which a thread that polls leaves the processor for a while. */
const PATIENCE = 2000;

/** How long such a while is. */
const REST_MS = 0.1;

/**
 * Lets others have the processor once `idle` looks in a row were in vain.
 * Throws when that was so for too long.
 */
export function rest(words: Int32Array, idle: number): void {
  if (idle % PATIENCE !== 0) return;
  Atomics.wait(words, WORD.rest, 0, REST_MS);
  if (idle / PATIENCE > LOST_MS / REST_MS) throw new Error("Nothing moves");
}

/** Longer than anything takes: sleeping so long is a lost wake-up. */
export const LOST_MS = 30_000;

declare const self: DedicatedWorkerGlobalScope;

if (typeof DedicatedWorkerGlobalScope === "function") {
  self.onmessage = ({ data }: MessageEvent<RingWorkerSetup>) => {
    const memory = new GuestMemory(data.layout);
    const queue = openVirtqueue(data.config, memory);
    self.postMessage(work(queue, data));
  };
  self.postMessage("loaded");
}

function work(queue: Virtqueue, setup: RingWorkerSetup): string {
  const { words, sleeps, count } = setup;
  let done = 0;
  let idle = 0;
  while (done < count && queue.broken === "") {
    const kicks = Atomics.load(words, WORD.kicks);
    const before = done;
    while (queue.pop()) {
      const { head, reader, writer } = queue.chain;
      writer.writeU32(~reader.readU32());
      queue.push(head, head + 1);
      done++;
    }
    if (queue.flush()) {
      Atomics.add(words, WORD.calls, 1);
      Atomics.notify(words, WORD.calls);
    }
    idle = done > before ? 0 : idle + 1;
    if (idle === 0) continue;
    if (!sleeps) {
      rest(words, idle);
      continue;
    }
    if (queue.enableKicks()) continue;
    const result = Atomics.wait(words, WORD.kicks, kicks, LOST_MS);
    if (result === "timed-out") return `lost a kick after ${done}`;
  }
  return queue.broken;
}
