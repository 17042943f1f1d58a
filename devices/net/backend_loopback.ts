/**
 * The host's side as a mirror, for drivers' tests and for benchmarks.
 *
 * @module
 */
import type { Host } from "./backend.ts";
import type { LoopbackSeed } from "./port_loopback.ts";

/** Sends each frame back. */
export class LoopbackHost implements Host {
  readonly features = 0n;
  readonly mtu = 1500;
  readonly seed: LoopbackSeed = { kind: "loopback" };

  inject(): void {
    // Nobody else is there to learn of anything.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
