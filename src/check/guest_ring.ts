/**
 * A ring of a {@linkcode Guest}.
 *
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";
import type { Frontend } from "../vhost_user/frontend.ts";
import { EventFd } from "../io/event_fd.ts";
import { openRing } from "../testing/open_ring.ts";
import type {
  AddOptions,
  DriverSegment,
  RingDriver,
  UsedChain,
} from "../testing/ring_driver.ts";
import { asSplit, type SplitDriver } from "../testing/split_driver.ts";
import { VHOST_USER_PROTOCOL_F } from "../vhost_user/protocol.ts";
import { CheckFailure, expect } from "./verdict.ts";
import type { CheckSession } from "./check_session.ts";
import type { WorkRequest } from "./work_request.ts";

/** What a ring needs of the guest that it belongs to. */
export interface RingOwner {
  /** The check that it is part of. */
  readonly run: CheckSession;
  /** The protocol's side. */
  readonly frontend: Frontend;
  /** Where the ring is laid out. */
  readonly memory: DriverMemory;
  /** Negotiated virtio features. */
  readonly features: bigint;
  /** What else is done while a request is waited for. */
  readonly workload: { pump?(): void };
  /** The address in the front-end of what is at `guestAddress`. */
  userAddress(guestAddress: number): number;
}

/** How rings are laid out and started. */
export interface RingSetup {
  /** Entries; 64 by default. */
  readonly ringSize?: number;
  /** Where they start, as SET_VRING_BASE has it; the beginning by default. */
  readonly base?: number;
  /** The region of the memory that they are in; any by default. */
  readonly ringRegion?: number;
}

/** What a ring is started with. */
export interface StartOptions {
  /** SET_VRING_BASE; where it was laid out by default. */
  base?: number;
  /** Whether there is a kick descriptor; true by default. */
  kick?: boolean;
  /** Whether there is a call descriptor; true by default. */
  call?: boolean;
  /** Whether it is enabled; true by default. */
  enable?: boolean;
}

/** Whether the device is kicked for what is shown to it. */
export type Kick = "as wanted" | "always" | "never";

/** One ring: laid out, and driven by hand. */
export class GuestRing implements Disposable {
  /** Of the ring in its device. */
  readonly index: number;
  /** Its driver. */
  readonly driver: RingDriver;
  /** Kicks the device. */
  readonly kickFd: EventFd = EventFd.open();
  /** What the device calls. */
  callFd: EventFd = EventFd.open();
  /** What the device signals when it finds the ring broken. */
  readonly errFd: EventFd = EventFd.open();
  /** The heads that the device has. */
  readonly out: Set<number> = new Set();
  readonly #guest: RingOwner;
  readonly #base: number;
  /** By head: what was given back and not asked for yet. */
  readonly #done = new Map<number, number>();

  /** Lays ring `index` out in the memory of `guest`. */
  constructor(guest: RingOwner, index: number, setup: RingSetup) {
    this.#guest = guest;
    this.index = index;
    const packed = guest.run.target.packed;
    // A packed ring starts with both wrap counters at 1, §2.8.1.
    this.#base = setup.base ?? (packed ? 0x8000_8000 : 0);
    this.driver = openRing(
      guest.memory,
      setup.ringSize ?? 64,
      guest.features,
      {
        ...(setup.base === undefined ? {} : { base: setup.base }),
        ...(setup.ringRegion === undefined ? {} : { region: setup.ringRegion }),
      },
    );
  }

  /** The driver, which has to be of a split ring. */
  get split(): SplitDriver {
    return asSplit(this.driver);
  }

  /** The areas as SET_VRING_ADDR has them. */
  get addresses(): {
    index: number;
    flags: number;
    descriptor: number;
    used: number;
    available: number;
    log: number;
  } {
    const guest = this.#guest;
    return {
      index: this.index,
      flags: 0,
      descriptor: guest.userAddress(this.driver.descriptorArea),
      used: guest.userAddress(this.driver.deviceArea),
      available: guest.userAddress(this.driver.driverArea),
      log: 0,
    };
  }

  /** Tells the back-end of the ring, and starts it. */
  async start(options: StartOptions = {}): Promise<void> {
    const { frontend, run } = this.#guest;
    const { index } = this;
    run.step = `SET_VRING_NUM of ring ${index}`;
    await frontend.setVringNum(index, this.driver.size);
    run.step = `SET_VRING_BASE of ring ${index}`;
    await frontend.setVringBase(index, options.base ?? this.#base);
    run.step = `SET_VRING_ADDR of ring ${index}`;
    await frontend.setVringAddr(this.addresses);
    await frontend.setVringErr(index, this.errFd.fd);
    run.step = `SET_VRING_CALL of ring ${index}`;
    const call = options.call ?? true;
    await frontend.setVringCall(index, call ? this.callFd.fd : null);
    run.step = `SET_VRING_KICK of ring ${index}`;
    const kick = options.kick ?? true;
    await frontend.setVringKick(index, kick ? this.kickFd.fd : null);
    if (options.enable ?? true) await this.enable(true);
  }

  /** SET_VRING_ENABLE, which has taken effect when this resolves. */
  async enable(enabled: boolean): Promise<void> {
    const { frontend, run } = this.#guest;
    run.step = `SET_VRING_ENABLE of ring ${this.index}`;
    await frontend.setVringEnable(this.index, enabled);
    // As QEMU does where nothing is acknowledged: else a back-end that loses
    // the kicks of disabled rings fails any check, now and then.
    const { REPLY_ACK } = VHOST_USER_PROTOCOL_F;
    if (!frontend.hasProtocolFeature(REPLY_ACK)) await frontend.getFeatures();
  }

  /** GET_VRING_BASE: stops the ring; its base. */
  async stop(): Promise<number> {
    const { frontend, run } = this.#guest;
    run.step = `GET_VRING_BASE of ring ${this.index}`;
    return await frontend.getVringBase(this.index);
  }

  /** Stages `segments`: their head. */
  add(segments: readonly DriverSegment[], options: AddOptions = {}): number {
    const head = this.driver.add(segments, options);
    this.out.add(head);
    return head;
  }

  /** Shows what is staged. */
  publish(kick: Kick = "as wanted"): void {
    const wanted = this.driver.publish();
    if (kick === "always" || (wanted && kick === "as wanted")) {
      this.kickFd.signal();
    }
  }

  /** Takes what was given back: how many. Fails where that was not out. */
  collect(): number {
    let count = 0;
    for (let used; (used = this.#nextUsed()) !== null; count++) {
      if (!this.out.delete(used.head)) {
        throw new CheckFailure(
          `Ring ${this.index} gave head ${used.head} back, which it did not have`,
        );
      }
      this.#done.set(used.head, used.written);
    }
    return count;
  }

  /** As the driver's; an id that a packed ring does not have is a failure. */
  #nextUsed(): UsedChain | null {
    try {
      return this.driver.nextUsed();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new CheckFailure(`Ring ${this.index}: ${error.message}`);
    }
  }

  /** Waits for `head` to be given back: the bytes that were written. */
  async finish(head: number): Promise<number> {
    const { run, workload } = this.#guest;
    await run.until(() => {
      workload.pump?.();
      this.collect();
      return this.#done.has(head);
    }, `The request with head ${head} on ring ${this.index}`);
    const written = this.#done.get(head)!;
    this.#done.delete(head);
    return written;
  }

  /** Waits for everything to be given back. */
  async finishAll(): Promise<void> {
    const { run, workload } = this.#guest;
    await run.until(() => {
      workload.pump?.();
      this.collect();
      return this.out.size === 0;
    }, `The rest of the requests on ring ${this.index}`);
    this.#done.clear();
  }

  /** Sends `segments` and takes them back: the bytes that were written. */
  async send(
    segments: readonly DriverSegment[],
    options: AddOptions = {},
  ): Promise<number> {
    const head = this.add(segments, options);
    this.publish();
    return await this.finish(head);
  }

  /** Sends `request`, takes it back and sees that it was done right. */
  async exchange(
    request: WorkRequest,
    options: AddOptions = {},
  ): Promise<number> {
    const written = await this.send(request.segments, options);
    request.check(written);
    return written;
  }

  /** Whether the device called since this was asked last. */
  called(): boolean {
    return this.callFd.clear();
  }

  /** Fails unless the device calls. */
  async mustCall(): Promise<void> {
    const { run } = this.#guest;
    await run.until(() => this.called(), `A call of ring ${this.index}`);
  }

  /** Fails where something is given back, in a while. */
  async mustRest(why: string): Promise<void> {
    const { run } = this.#guest;
    await run.quiet();
    const count = this.collect();
    expect(count === 0, `${count} requests were given back ${why}`);
  }

  /** Closes the eventfds. */
  [Symbol.dispose](): void {
    for (const eventFd of [this.kickFd, this.callFd, this.errFd]) {
      eventFd[Symbol.dispose]();
    }
  }
}
