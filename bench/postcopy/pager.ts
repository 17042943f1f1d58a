/**
 * The front-end's part, on a thread of its own: fetches the page of each fault
 * into the shared file and wakes who waits. It may take its time, as a source
 * at the other end of a network does.
 *
 * @module
 */
import { libc } from "../../src/ffi/libc.ts";
import { addressOf } from "../../src/ffi/pointer.ts";
import { nextFault, PAGE, wake } from "./userfault.ts";

/** What the pager is started with. */
export interface PagerStart {
  /** The userfaultfd. */
  readonly fd: number;
  /** The file behind the memory. */
  readonly memory: number;
  /** Where the memory is mapped. */
  readonly address: number;
  /** Milliseconds until a page has arrived; -1: it never does. */
  readonly delayMs: number;
  /** [0]: not 0 ends it. [1]: faults that were told of. */
  readonly state: Int32Array;
}

const page = new Uint8Array(PAGE).fill(7);
const iovec = BigUint64Array.of(BigInt(addressOf(page)), BigInt(PAGE));

self.addEventListener("message", (event) => {
  const start = (event as MessageEvent<PagerStart>).data;
  const { fd, memory, address, delayMs, state } = start;
  const scope = self as unknown as Pick<Worker, "postMessage">;
  scope.postMessage("ready");
  while (Atomics.load(state, 0) === 0) {
    const fault = nextFault(fd, 20);
    if (fault === 0) continue;
    Atomics.add(state, 1, 1);
    if (delayMs < 0) continue;
    if (delayMs > 0) Atomics.wait(state, 0, 0, delayMs);
    libc.pwritev2(memory, iovec, 1, BigInt(fault - address), 0);
    wake(fd, fault);
  }
  scope.postMessage("done");
});
