/**
 * A pretended guest that a check sets up as it likes.
 *
 * @module
 */
import { VHOST_USER_F_PROTOCOL_FEATURES } from "../device/features.ts";
import type {
  DriverRegion,
  DriverRegionSpec,
} from "../testing/driver_memory.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import type { Frontend } from "../vhost_user/frontend.ts";
import { expect } from "./verdict.ts";
import type { CheckSession } from "./check_session.ts";
import { GuestRing, type RingOwner, type RingSetup } from "./guest_ring.ts";
import type { Workload, Workplace } from "./workload.ts";
import { workloadOf } from "./workloads.ts";

/** How a {@linkcode Guest} is set up. */
export interface GuestOptions extends RingSetup {
  /** Of the accepted features, those to leave out. */
  readonly without?: bigint;
  /** Exactly these features, in place of what is accepted usually. */
  readonly features?: bigint;
  /** Nothing is said of protocol features, as by an old front-end. */
  readonly withoutProtocol?: boolean;
  /** Of the offered protocol features, those to accept. */
  readonly protocolFeatures?: bigint;
  /** Guest memory: bytes, or regions; 8 MiB by default. */
  readonly memory?: number | readonly DriverRegionSpec[];
  /** Rings to lay out and start: what the work needs, by default. */
  readonly ringCount?: number;
  /** Whether the rings are started; true by default. */
  readonly start?: boolean;
  /** Whether frames that come in are taken and forgotten; true by default. */
  readonly receive?: boolean;
  /** Whether the memory is shared at once; true by default. */
  readonly share?: boolean;
}

const MIB = 1 << 20;

/** A front-end with memory and rings, and the usual work of its device. */
export class Guest implements Disposable, RingOwner, Workplace {
  /** The check that it is part of. */
  readonly run: CheckSession;
  /** The protocol's side. */
  readonly frontend: Frontend;
  /** Its memory. */
  readonly memory: DriverMemory;
  /** Its rings; filled by `setUp`. */
  readonly rings: GuestRing[] = [];
  /** What it asks the device to do. */
  workload: Workload;
  /** Negotiated virtio features. */
  features = 0n;
  /** Rings of the device, as it says. */
  queueCount = 1;
  readonly #options: GuestOptions;
  /** A back-end that is reset retains its owner and the protocol features. */
  #negotiated = false;

  /** Speaks over `frontend`, which it leaves open; `setUp` does the rest. */
  constructor(run: CheckSession, frontend: Frontend, options: GuestOptions) {
    this.run = run;
    this.#options = options;
    this.frontend = frontend;
    this.memory = DriverMemory.shared(options.memory ?? 8 * MIB);
    this.workload = workloadOf(this);
  }

  /**
   * Negotiates, shares the memory, lays the rings out and starts them; again
   * where the device was reset.
   */
  async setUp(): Promise<void> {
    const { run } = this;
    const options = this.#options;
    run.step = "negotiating";
    if (this.#negotiated) await this.frontend.setFeatures(this.features);
    else await this.#negotiate(options);
    this.#negotiated = true;
    for (const ring of this.rings.splice(0)) ring[Symbol.dispose]();
    this.workload = workloadOf(this);
    const count = options.ringCount ?? this.workload.ringCount;
    for (let index = 0; index < count; index++) {
      this.rings.push(new GuestRing(this, index, options));
    }
    if (options.share ?? true) await this.share();
    if (options.start ?? true) {
      for (const ring of this.rings) await ring.start();
    }
    // Some back-ends serve nothing before; rings may be started later, too.
    run.step = "SET_STATUS";
    await this.frontend.driverOk();
  }

  async #negotiate(options: GuestOptions): Promise<void> {
    const { target } = this.run;
    const wanted = options.features ??
      (target.accepted & ~(options.without ?? 0n));
    if (options.withoutProtocol ?? false) {
      this.features = wanted & ~VHOST_USER_F_PROTOCOL_FEATURES;
      await this.frontend.setOwner();
      await this.frontend.setFeatures(this.features);
      return;
    }
    const { protocolFeatures } = options;
    const { features, queueCount } = await this.frontend.negotiate({
      features: wanted,
      ...(protocolFeatures === undefined ? {} : { protocolFeatures }),
    });
    this.features = features;
    this.queueCount = queueCount;
  }

  /** SET_MEM_TABLE with `regions`, all by default. */
  async share(
    regions: readonly DriverRegion[] = this.memory.regions,
  ): Promise<void> {
    this.run.step = "SET_MEM_TABLE";
    await this.frontend.setMemTable(
      regions.map((region) => ({ ...region, fd: region.fd! })),
    );
  }

  /** Whether frames that come in are taken and forgotten. */
  get receives(): boolean {
    return this.#options.receive ?? true;
  }

  /** The ring that the usual work goes through. */
  get ring(): GuestRing {
    return this.rings[this.workload.ring]!;
  }

  /** Asks for the usual, and sees that it is done right. */
  async works(ring: GuestRing = this.ring, count = 1): Promise<void> {
    for (let i = 0; i < count; i++) {
      await ring.exchange(this.workload.request());
    }
  }

  /** The address in the front-end of what is at `guestAddress`. */
  userAddress(guestAddress: number): number {
    const region = this.memory.regions.find((region) =>
      guestAddress >= region.guestAddress &&
      guestAddress < region.guestAddress + region.size
    );
    expect(region !== undefined, "The check used memory that it does not have");
    return region.userAddress + guestAddress - region.guestAddress;
  }

  /** Answered once all before it took effect. */
  async barrier(): Promise<void> {
    this.run.step = "GET_FEATURES";
    await this.frontend.getFeatures();
  }

  /** Hangs up; memory and eventfds go too. */
  [Symbol.dispose](): void {
    this.frontend[Symbol.dispose]();
    for (const ring of this.rings.splice(0)) ring[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}
