/**
 * A connection to a back-end, for a load: what was agreed on, memory, rings.
 *
 * @module
 */
import {
  featureNames,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from "../device/features.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { Frontend, NackError } from "../vhost_user/frontend.ts";
import { VHOST_USER } from "../vhost_user/protocol.ts";
import { LoadError } from "./errors.ts";
import type { Lane } from "./lane.ts";
import type { LoadRing, LoadSegment } from "./load_ring.ts";
import { PackedLoadRing } from "./packed_ring.ts";
import { SplitLoadRing } from "./split_ring.ts";

/** What every load has to say of its rings. */
export interface WireOptions {
  /** Requests in flight, on each ring. */
  readonly depth: number;
  /** The kind of the rings. */
  readonly ring?: "split" | "packed";
  /** Entries of each; else as many as fit, 256 or more. */
  readonly ringSize?: number;
  /** Each request in an indirect table. */
  readonly indirect?: boolean;
  /** Looks at the rings for ever rather than wait for calls. */
  readonly polled?: boolean;
  /** Milliseconds without an answer after which there will be none. */
  readonly stallMs?: number;
  /** Of all that is random. */
  readonly seed?: number;
}

/** Stall limit unless another one is given, milliseconds. */
export const STALL_MS = 10_000;

/** The smallest ring that is made unasked: small ones wrap in the cache. */
const RING_SIZE = 256;
const RING_SIZE_MAX = 32768;
/** What a ring and its alignment take beside its descriptors. */
const RING_OVERHEAD = 32 << 10;

/** A front-end that agreed on features; memory and rings follow. */
export class Wire implements Disposable {
  /** The protocol's side. */
  readonly frontend: Frontend;
  /** Negotiated virtio features. */
  readonly features: bigint;
  /** Rings that the back-end has, as far as it says. */
  readonly queueCount: number;
  readonly #options: WireOptions;
  readonly #deadline: Deadline;
  #memory: DriverMemory | null = null;

  private constructor(
    frontend: Frontend,
    features: bigint,
    queueCount: number,
    options: WireOptions,
    deadline: Deadline,
  ) {
    this.frontend = frontend;
    this.features = features;
    this.queueCount = queueCount;
    this.#options = options;
    this.#deadline = deadline;
  }

  /**
   * Connects to `socketPath`. Of the features of the device accepts `wanted`
   * where they are offered.
   */
  static async open(
    socketPath: string,
    options: WireOptions,
    wanted: bigint,
  ): Promise<Wire> {
    const frontend = Frontend.connect(socketPath);
    const deadline = new Deadline(options.stallMs ?? STALL_MS);
    try {
      let must = VIRTIO_F_VERSION_1;
      if (options.ring === "packed") must |= VIRTIO_F_RING_PACKED;
      if (options.indirect) must |= VIRTIO_F_INDIRECT_DESC;
      const offered = await deadline.over(frontend.getFeatures());
      const missing = must & ~offered;
      if (missing !== 0n) {
        throw new LoadError(
          `The back-end does not offer ${featureNames(missing).join(", ")}, ` +
            "which this load needs: ask for another load",
        );
      }
      const { features, queueCount } = await deadline.over(
        frontend.negotiate({ features: must | wanted | VIRTIO_F_EVENT_IDX }),
      );
      return new Wire(frontend, features, queueCount, options, deadline);
    } catch (error) {
      frontend[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether all of `features` were negotiated. */
  has(features: bigint): boolean {
    return (this.features & features) === features;
  }

  /** `size` bytes of the config space. */
  async config(size: number): Promise<DataView> {
    const bytes = await this.#deadline.over(this.frontend.getConfig(0, size));
    return new DataView(bytes.slice().buffer);
  }

  /** Entries that a ring gets whose slots have up to `buffers` buffers each. */
  ringSize(buffers: number, depth: number = this.#options.depth): number {
    const needed = depth * (this.#options.indirect ? 1 : buffers);
    const fits = 2 ** Math.ceil(Math.log2(Math.max(needed, RING_SIZE)));
    const size = this.#options.ringSize ?? fits;
    if (size >= needed && size <= RING_SIZE_MAX) return size;
    throw new LoadError(
      `Rings have ${size} entries, but ${depth} requests in flight take ` +
        `${needed}, and ${RING_SIZE_MAX} is the most: ask for fewer requests` +
        (this.#options.indirect ? "" : ", or for indirect tables"),
    );
  }

  /** Shares memory for `ringCount` rings of `ringSize` and `payload` bytes. */
  async share(
    ringCount: number,
    ringSize: number,
    payload: number,
  ): Promise<DriverMemory> {
    // A descriptor, its entries in the rings, and as much in indirect tables.
    const ring = RING_OVERHEAD + ringSize * 128;
    const memory = DriverMemory.shared(ringCount * ring + payload);
    this.#memory = memory;
    const [region] = memory.regions;
    await this.#deadline.over(
      this.frontend.setMemTable([{ ...region!, fd: region!.fd! }]),
    );
    return memory;
  }

  /** Lays out a ring of `size` entries with these slots, by slot and shape. */
  layOut(
    memory: DriverMemory,
    size: number,
    slots: readonly (readonly (readonly LoadSegment[])[])[],
  ): LoadRing {
    const options = {
      size,
      slots,
      eventIndex: this.has(VIRTIO_F_EVENT_IDX),
      indirect: this.#options.indirect ?? false,
    };
    return this.#options.ring === "packed"
      ? new PackedLoadRing(memory, options)
      : new SplitLoadRing(memory, options);
  }

  /** Starts `lane` as ring `index`. */
  async start(index: number, lane: Lane): Promise<void> {
    const { guestAddress, userAddress } = this.#memory!.regions[0]!;
    const user = (address: number) => address - guestAddress + userAddress;
    const { ring, kickFd, callFd } = lane;
    const started = this.frontend.setVring(index, {
      size: ring.size,
      base: ring.base,
      descriptor: user(ring.descriptorArea),
      available: user(ring.driverArea),
      used: user(ring.deviceArea),
      kick: kickFd.fd,
      call: callFd.fd,
    });
    try {
      await this.#deadline.over(started);
    } catch (error) {
      const isSize = error instanceof NackError &&
        error.request === VHOST_USER.SET_VRING_NUM;
      if (!isSize) throw error;
      throw new LoadError(
        `The back-end refuses rings of ${ring.size} entries: ask for fewer ` +
          "requests in flight, or for smaller rings",
        { cause: error },
      );
    }
  }

  /** Tells the device that the driver is ready, all its rings being started. */
  async ready(): Promise<void> {
    await this.#deadline.over(this.frontend.driverOk());
  }

  /** Hangs up; the memory goes too. */
  [Symbol.dispose](): void {
    this.frontend[Symbol.dispose]();
    this.#memory?.[Symbol.dispose]();
  }
}

/** A limit for each answer of a session. */
class Deadline {
  readonly #milliseconds: number;

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
  }

  /** The outcome of `work`, or a LoadError once the limit is over. */
  async over<T>(work: Promise<T>): Promise<T> {
    const limit = this.#milliseconds;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() =>
        reject(
          new LoadError(
            `The back-end did not answer the front-end for ${
              limit / 1000
            } s: ` +
              "it hangs, or serves another front-end",
          ),
        ), limit);
    });
    // What comes after the limit is nobody's.
    work.catch(() => {});
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
