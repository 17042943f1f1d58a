/**
 * Segments: what the net devices of one process are joined by, by name.
 *
 * @module
 */
import { UsageError } from "../../src/errors.ts";
import { EventFd, signalEventFd } from "../../src/io/event_fd.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createFrameRing, FrameRing } from "./frame_ring.ts";
import { createMacTable, MacTable, PORTS_MAX } from "./mac_table.ts";
import type { Inbox, SwitchMember } from "./port_switch.ts";

/** Tells one port who is in its segment now; resolves once its threads know. */
export type TellMembers = (members: readonly SwitchMember[]) => Promise<void>;

/** One port, with what it owns. */
class Place {
  readonly member: SwitchMember;
  tell: TellMembers | null = null;
  readonly #rings: Fd[] = [];
  readonly #eventFds: EventFd[] = [];

  constructor(id: number, pairCount: number) {
    const inboxes: Inbox[] = [];
    for (let i = 0; i < pairCount; i++) {
      const ring = createFrameRing();
      const eventFd = EventFd.open();
      this.#rings.push(ring);
      this.#eventFds.push(eventFd);
      inboxes.push({ fd: ring.number, eventFd: eventFd.fd.number });
    }
    this.member = { id, inboxes };
  }

  /** Frames that found its inboxes full. */
  dropped(): number {
    let sum = 0;
    for (const { number } of this.#rings) {
      using ring = new FrameRing(number);
      sum += ring.dropped;
    }
    return sum;
  }

  close(): void {
    for (const ring of this.#rings) ring.close();
    for (const eventFd of this.#eventFds) eventFd[Symbol.dispose]();
  }
}

const segments = new Map<string, Segment>();

/** The ports that share a name. It is there while it has any. */
export class Segment {
  /** As on the command line. */
  readonly name: string;
  readonly #table: Fd = createMacTable();
  readonly #places = new Map<number, Place>();

  private constructor(name: string) {
    this.name = name;
  }

  /** The segment `name` of this process. */
  static named(name: string): Segment {
    const known = segments.get(name);
    if (known !== undefined) return known;
    const segment = new Segment(name);
    segments.set(name, segment);
    return segment;
  }

  /** The memory of its table of addresses. */
  get tableFd(): number {
    return this.#table.number;
  }

  /** Adds a port with so many queue pairs. The others are told. */
  join(pairCount: number): SwitchMember {
    let id = 0;
    while (this.#places.has(id)) id++;
    if (id >= PORTS_MAX) {
      throw new UsageError(
        `Segment ${this.name} has ${PORTS_MAX} ports, and there can't be ` +
          "more: use several segments",
      );
    }
    const place = new Place(id, pairCount);
    this.#places.set(id, place);
    void this.#tellAll();
    return place.member;
  }

  /** Has port `id` told of every change from now on, and of how it is now. */
  async listen(id: number, tell: TellMembers): Promise<void> {
    this.#places.get(id)!.tell = tell;
    await tell(this.#members());
  }

  /** Frames that port `id` did not take in time. */
  dropped(id: number): number {
    return this.#places.get(id)?.dropped() ?? 0;
  }

  /** Gives `frame`, with its header, of port `id` to all others. */
  flood(id: number, frame: Uint8Array): void {
    for (const { member } of this.#places.values()) {
      if (member.id === id) continue;
      const { fd, eventFd } = member.inboxes[0]!;
      using ring = new FrameRing(fd);
      const place = ring.isOpen ? ring.reserve(frame.length) : -1;
      if (place < 0) continue;
      ring.fillBytes(place, frame);
      ring.commit(place, frame.length);
      if (ring.mustWake()) signalEventFd(eventFd);
    }
  }

  /** Port `id` is here now: what was known of `mac` is not true any more. */
  moved(id: number, mac: Uint8Array): void {
    using table = new MacTable(this.tableFd);
    const view = new DataView(mac.buffer, mac.byteOffset, 6);
    const now = Math.floor(Date.now() / 1000);
    table.learn(view.getUint16(0), view.getInt32(2), id, now);
  }

  /** Removes port `id`, once nobody sends to it any more. */
  async leave(id: number): Promise<void> {
    const place = this.#places.get(id);
    if (place === undefined) return;
    this.#places.delete(id);
    {
      using table = new MacTable(this.tableFd);
      table.forget(id);
    }
    await this.#tellAll();
    place.close();
    if (this.#places.size > 0) return;
    this.#table.close();
    segments.delete(this.name);
  }

  #members(): SwitchMember[] {
    return [...this.#places.values()].map(({ member }) => member);
  }

  async #tellAll(): Promise<void> {
    const members = this.#members();
    // One whose threads are gone sends nothing.
    await Promise.allSettled(
      [...this.#places.values()].map(({ tell }) => tell?.(members)),
    );
  }
}
