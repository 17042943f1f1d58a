// Data plane: a port of the switch that joins the devices of a process.
/**
 * @module
 */
import type {
  DataPlaneServices,
  ReadySource,
} from "../../src/device/device.ts";
import { EAGAIN, EINVAL } from "../../src/ffi/abi.ts";
import { signalEventFd } from "../../src/io/event_fd.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import type { HostSeed, OutgoingFrame, Port } from "./backend.ts";
import { FrameRing } from "./frame_ring.ts";
import { GuestCopy } from "./guest_copy.ts";
import { MacTable, NOWHERE } from "./mac_table.ts";
import { ETHERNET_SIZE, HEADER_SIZE } from "./protocol.ts";

/** Where frames for one queue pair of a port go. */
export interface Inbox {
  /** The memory of its ring. */
  readonly fd: number;
  /** Wakes who takes from it. */
  readonly eventFd: number;
}

/** A port of the segment: one device. */
export interface SwitchMember {
  /** Below PORTS_MAX. */
  readonly id: number;
  /** One for each of its queue pairs. */
  readonly inboxes: readonly Inbox[];
}

/** What the ports of a switch are opened with. Descriptors are the segment's. */
export interface SwitchSeed extends HostSeed {
  readonly kind: "switch";
  /** Of the device among its segment. */
  readonly id: number;
  /** Its own inboxes. */
  readonly inboxes: readonly Inbox[];
  /** The memory of the table of addresses. */
  readonly tableFd: number;
}

/** An inbox of another port, to be sent to. */
class Peer {
  readonly id: number;
  readonly inbox: FrameRing;
  readonly eventFd: number;

  constructor(id: number, inbox: Inbox) {
    this.id = id;
    this.inbox = new FrameRing(inbox.fd);
    this.eventFd = inbox.eventFd;
  }

  /** Copies `frame` to the inbox, or drops it where that is full. */
  deliver(frame: OutgoingFrame, copy: GuestCopy): void {
    const { inbox } = this;
    const place = inbox.reserve(frame.size);
    if (place < 0) return inbox.countDrop();
    inbox.fill(place, frame, copy);
    inbox.commit(place, frame.size);
    if (inbox.mustWake()) signalEventFd(this.eventFd);
  }
}

/**
 * One queue pair of one port. Frames to a known address go to its port, all
 * others to every port. A port that does not take its frames loses them: it
 * holds up nobody else.
 */
export class SwitchPort implements Port, ReadySource {
  readonly headSize = HEADER_SIZE + ETHERNET_SIZE;
  readonly #id: number;
  readonly #pair: number;
  readonly #services: DataPlaneServices;
  readonly #inbox: FrameRing;
  readonly #copy: GuestCopy;
  readonly #eventFd: number;
  readonly #table: MacTable;
  /** By port: the inbox for this pair, where the port has one. */
  #peers: (Peer | null)[] = [];
  /** By port: its first inbox, for as long as it does not use the other. */
  #firsts: (Peer | null)[] = [];
  #sleeping = false;

  /** The port of pair `pair`. Throws a SystemError. */
  constructor(seed: SwitchSeed, pair: number, services: DataPlaneServices) {
    const own = seed.inboxes[pair]!;
    this.#id = seed.id;
    this.#pair = pair;
    this.#services = services;
    this.#inbox = new FrameRing(own.fd);
    this.#copy = new GuestCopy(services);
    this.#eventFd = own.eventFd;
    this.#table = new MacTable(seed.tableFd);
    services.watch(own.eventFd, this);
  }

  receive(list: IovecList, first: number, count: number): number {
    const inbox = this.#inbox;
    const result = inbox.take(list, first, count, this.#copy);
    if (result !== -EAGAIN || this.#sleeping) return result;
    this.#sleeping = true;
    return inbox.sleep() ? -EAGAIN : inbox.take(list, first, count, this.#copy);
  }

  send(frame: OutgoingFrame): number {
    const { head } = frame;
    const toHigh = head.getUint16(HEADER_SIZE);
    const toLow = head.getInt32(HEADER_SIZE + 2);
    const fromHigh = head.getUint16(HEADER_SIZE + 6);
    const fromLow = head.getInt32(HEADER_SIZE + 8);
    // The bit of a group: nobody is a group.
    if ((fromHigh & 0x100) !== 0) return -EINVAL;
    const now = Math.floor(Date.now() / 1000);
    const table = this.#table;
    table.learn(fromHigh, fromLow, this.#id, now);
    if ((toHigh & 0x100) === 0) {
      const id = table.lookUp(toHigh, toLow, now);
      if (id !== NOWHERE) {
        if (id !== this.#id) this.#sendTo(id, frame);
        return frame.size;
      }
    }
    for (let id = 0; id < this.#peers.length; id++) this.#sendTo(id, frame);
    return frame.size;
  }

  enable(enabled: boolean): void {
    this.#inbox.isOpen = enabled;
    if (!enabled) this.#inbox.drop();
  }

  /** The members of the segment as they are now. */
  update(message: unknown): void {
    this.#closePeers();
    for (const { id, inboxes } of message as readonly SwitchMember[]) {
      if (id === this.#id) continue;
      while (this.#peers.length <= id) {
        this.#peers.push(null);
        this.#firsts.push(null);
      }
      const index = this.#pair % inboxes.length;
      this.#peers[id] = new Peer(id, inboxes[index]!);
      if (index > 0) this.#firsts[id] = new Peer(id, inboxes[0]!);
    }
  }

  ready(): void {
    this.#sleeping = false;
  }

  [Symbol.dispose](): void {
    this.#services.unwatch(this.#eventFd);
    this.#closePeers();
    this.#inbox[Symbol.dispose]();
    this.#table[Symbol.dispose]();
  }

  #sendTo(id: number, frame: OutgoingFrame): void {
    const peer = this.#peers[id];
    if (peer === null || peer === undefined) return;
    if (peer.inbox.isOpen) return peer.deliver(frame, this.#copy);
    const first = this.#firsts[id];
    if (first?.inbox.isOpen) first.deliver(frame, this.#copy);
  }

  #closePeers(): void {
    for (const peer of this.#peers) peer?.inbox[Symbol.dispose]();
    for (const peer of this.#firsts) peer?.inbox[Symbol.dispose]();
    this.#peers = [];
    this.#firsts = [];
  }
}
