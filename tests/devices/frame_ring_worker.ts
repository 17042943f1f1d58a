/**
 * Adds numbered frames to a ring, as one of several threads.
 *
 * @module
 */
import { FrameRing } from "../../devices/net/frame_ring.ts";

/** What the thread is to do. */
export interface FrameRingTask {
  /** The memory of the ring. */
  readonly fd: number;
  /** Which thread it is, 0..255. */
  readonly id: number;
  /** Frames to add. */
  readonly count: number;
}

/** Bytes of frame number `i`. */
export function sizeOf(i: number): number {
  return 12 + (i * 37) % 5000;
}

const scope = self as unknown as DedicatedWorkerGlobalScope;

scope.onmessage = (event: MessageEvent<FrameRingTask>) => {
  const { fd, id, count } = event.data;
  using ring = new FrameRing(fd);
  for (let i = 0; i < count;) {
    const bytes = new Uint8Array(sizeOf(i)).fill((id + i) & 255);
    new DataView(bytes.buffer).setUint32(0, i);
    bytes[4] = id;
    const place = ring.reserve(bytes.length);
    if (place < 0) {
      // The one that takes may need this processor.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      continue;
    }
    ring.fillBytes(place, bytes);
    ring.commit(place, bytes.length);
    i++;
  }
  scope.postMessage("done");
};
