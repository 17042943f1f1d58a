/**
 * A device that holds every request until it is told to let go: for tests of
 * what has to wait for requests in flight.
 *
 * @module
 */
import type { DataDevice } from "../../src/device/device.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";

class HoldingDevice implements DataDevice {
  readonly #held: { queue: Virtqueue; head: number }[] = [];
  #hold = true;

  drain(queue: Virtqueue): void {
    while (queue.pop()) {
      const { head } = queue.chain;
      if (this.#hold) this.#held.push({ queue, head });
      else queue.push(head, 0);
    }
  }

  update(state: unknown): void {
    this.#hold = state === "hold";
    if (this.#hold) return;
    for (const { queue, head } of this.#held.splice(0)) queue.push(head, 0);
  }
}

export function open(): DataDevice {
  return new HoldingDevice();
}
