/**
 * The host's side as a switch inside the process: no root, no kernel.
 *
 * @module
 */
import type { Host, HostControl } from "./backend.ts";
import { HEADER_SIZE } from "./protocol.ts";
import type { SwitchSeed } from "./port_switch.ts";
import { Segment } from "./segment.ts";

/** A port of a segment. */
export class SwitchHost implements Host {
  // No offloads: a port can't know what the others' drivers take.
  readonly features = 0n;
  readonly mtu = 1500;
  readonly seed: SwitchSeed;
  readonly #segment: Segment;

  /** Joins the segment `name` with so many queue pairs. */
  constructor(name: string, pairCount: number) {
    this.#segment = Segment.named(name);
    const { id, inboxes } = this.#segment.join(pairCount);
    const { tableFd } = this.#segment;
    this.seed = { kind: "switch", id, inboxes, tableFd };
  }

  attach(control: HostControl): void {
    const told = this.#segment.listen(
      this.seed.id,
      (members) => control.update(members),
    );
    // Where the threads are gone their carrier says so.
    told.catch(() => {});
  }

  inject(frame: Uint8Array<ArrayBuffer>): void {
    const source = HEADER_SIZE + 6;
    this.#segment.moved(this.seed.id, frame.slice(source, source + 6));
    this.#segment.flood(this.seed.id, frame);
  }

  dropped(): number {
    return this.#segment.dropped(this.seed.id);
  }

  async close(): Promise<void> {
    await this.#segment.leave(this.seed.id);
  }
}
