/**
 * The shadow ring: a virtqueue as the front-end configured it, and when it
 * runs. The messages that make it up can come in any order.
 *
 * Two states, independent of each other (specification, "Ring states"):
 * *started* from SET_VRING_KICK to GET_VRING_BASE, and *enabled*. A ring that
 * is started here runs on the data plane as soon as its size, its addresses,
 * the features and the memory they point to are known too.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { Fd } from "../io/fd.ts";
import { about, log } from "../log.ts";
import type { InflightArea } from "../virtqueue/inflight.ts";
import type { Backend } from "./backend.ts";
import type { VringAddress } from "./message.ts";
import { VIRTIO_F_IN_ORDER } from "./protocol.ts";
import { PACKED, type RingKind, ringKind, SPLIT } from "./ring_kind.ts";
import {
  type AreaHost,
  checkAddress,
  sameAddress,
  translateAreas,
  usedLogOf,
  type VringAreas,
} from "./vring_areas.ts";
import { type NotifierHost, VringNotifiers } from "./vring_notifiers.ts";

/** A base that nobody has set: the ring starts where its kind does. */
const NO_BASE = -1;

/** What a vring needs to know of the session it belongs to. */
export interface VringHost extends NotifierHost, AreaHost {
  /** Runs the rings. */
  readonly backend: Backend;
  /** What the log calls the device, or "". */
  readonly name: string;
  /** The negotiated feature bits, or null before SET_FEATURES. */
  readonly features: bigint | null;
  /** Whether the front-end has shared any memory. */
  readonly hasMemory: boolean;
  /** Where vring `index` of `size` entries records what is in flight, or null. */
  inflightArea(index: number, size: number): InflightArea | null;
}

/** One vring of a session. Failing methods throw a ProtocolError. */
export class Vring {
  /** Which vring it is. */
  readonly index: number;
  readonly #host: VringHost;
  #size = 0;
  #address: VringAddress | null = null;
  /** Where it goes on. */
  #base = NO_BASE;
  /** What GET_VRING_BASE answers: `#base`, but for a reset in between. */
  #stoppedAt = NO_BASE;
  readonly #notifiers: VringNotifiers;
  #armed = false;
  #enabled = false;
  #started = false;
  /** Whether it was ever enabled since it started: it may have done something. */
  #touched = false;

  /** A stopped and disabled vring of `host`. */
  constructor(index: number, host: VringHost) {
    this.index = index;
    this.#host = host;
    this.#notifiers = new VringNotifiers(index, host);
  }

  /** Entries, 0 where nobody has said. */
  get size(): number {
    return this.#size;
  }

  /** Whether it runs on the data plane. */
  get started(): boolean {
    return this.#started;
  }

  /** Whether its requests are to be processed while it is started. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** SET_VRING_NUM: the size, of a split ring a power of two. */
  async setSize(size: number): Promise<void> {
    this.#checkSize(size, this.#kind);
    await this.#reconfigure("size", () => this.#size = size);
  }

  /** SET_VRING_BASE: the next available index, of a packed ring its state. */
  async setBase(base: number): Promise<void> {
    if (this.#kind === SPLIT) this.#checkBase(base, SPLIT);
    await this.#reconfigure("base", () => this.#base = this.#stoppedAt = base);
  }

  /**
   * SET_VRING_ADDR. On a started ring only the same addresses again, to switch
   * the log of its used ring on or off.
   */
  async setAddress(address: VringAddress): Promise<void> {
    checkAddress(this.index, address);
    if (this.#started) {
      if (sameAddress(this.#address!, address)) return this.#setLog(address);
      throw new ProtocolError(
        `Vring ${this.index} runs, its addresses can't change: send ` +
          "GET_VRING_BASE first",
      );
    }
    const before = this.#address;
    this.#address = address;
    try {
      if (this.#size > 0 && this.#host.hasMemory) this.#translate();
      await this.startIfReady();
    } catch (error) {
      this.#address = before;
      throw error;
    }
  }

  /** SET_VRING_KICK: starts the ring; without an eventfd it is polled. Owns `fd`. */
  async setKick(fd: Fd | null): Promise<void> {
    this.#notifiers.checkKick(fd);
    try {
      await this.stop();
    } catch (error) {
      fd?.close();
      throw error;
    }
    await this.#arm(() => this.#notifiers.setKick(fd));
  }

  /** VRING_KICK: there are requests. Starts the ring where it was stopped. */
  async kick(): Promise<void> {
    if (!this.#armed) await this.#arm(() => this.#notifiers.setKickInBand());
    this.#notifiers.kick();
  }

  /** SET_VRING_CALL, at any time. Owns `fd`. */
  async setCall(fd: Fd | null): Promise<void> {
    const { setCall } = this.#host.backend;
    await this.#notifiers.setCall(fd, this.#replace(setCall));
  }

  /** SET_VRING_ERR, at any time. Owns `fd`. */
  async setErr(fd: Fd | null): Promise<void> {
    const { setErr } = this.#host.backend;
    await this.#notifiers.setErr(fd, this.#replace(setErr));
  }

  /** SET_VRING_ENABLE, and the default that SET_FEATURES decides. */
  async setEnabled(enabled: boolean): Promise<void> {
    if (this.#started) {
      await this.#host.backend.enableVring(this.index, enabled);
    }
    const before = this.#enabled;
    this.#enabled = enabled;
    this.#touched ||= enabled;
    try {
      await this.startIfReady();
    } catch (error) {
      this.#enabled = before;
      throw error;
    }
  }

  /**
   * GET_VRING_BASE: drains and stops the ring and forgets its kick and call;
   * its next available index.
   */
  async takeBase(): Promise<number> {
    await this.stop();
    this.#disarm();
    this.#notifiers.forgetCall();
    if (this.#stoppedAt !== NO_BASE) return this.#stoppedAt;
    return ringKind(this.#host.features ?? 0n).start;
  }

  /** Drains and stops the ring, and remembers where it was. */
  async stop(): Promise<void> {
    if (!this.#started) return;
    this.#base = await this.#host.backend.stopVring(this.index);
    this.#stoppedAt = this.#base;
    this.#started = false;
    this.#notifiers.flush();
  }

  /**
   * RESET_DEVICE or status 0: stopped, disabled and blank; call and err stay.
   * Where it stopped is forgotten by the first only: QEMU pauses a guest by
   * status 0 and then asks for it, to go on from there (7.2).
   */
  async reset(forgetBase: boolean): Promise<void> {
    await this.stop();
    this.#disarm();
    if (forgetBase) this.#stoppedAt = NO_BASE;
    this.#enabled = false;
    this.#size = 0;
    this.#address = null;
    this.#base = NO_BASE;
  }

  /** Without memory the guest hangs in silence: the commonest mistake there is. */
  #missMemory(): void {
    if (!this.#enabled) return;
    log.warnOnce(
      `${about(this.#host.name)}The front-end started a ring and shared no ` +
        "memory: the driver waits until it does; with QEMU use -object " +
        "memory-backend-memfd,share=on",
    );
  }

  /** Starts the ring where nothing is missing any more. */
  async startIfReady(): Promise<void> {
    const { features, hasMemory, backend } = this.#host;
    if (this.#started || !this.#armed || features === null) return;
    if (this.#size === 0 || this.#address === null) return;
    if (!hasMemory) return this.#missMemory();
    const kind = ringKind(features);
    const base = this.#base === NO_BASE ? kind.start : this.#base;
    this.#checkSize(this.#size, kind);
    this.#checkBase(base, kind);
    const areas = this.#translate();
    const enabled = this.#enabled;
    await backend.startVring(this.index, {
      size: this.#size,
      ...areas,
      base,
      features,
      kickFd: this.#notifiers.kickFd,
      callFd: this.#notifiers.callFd,
      errFd: this.#notifiers.errFd,
      enabled,
      inflight: this.#host.inflightArea(this.index, this.#size),
      usedLog: usedLogOf(this.#address),
    });
    const order = (features & VIRTIO_F_IN_ORDER) === 0n ? "" : ", in order";
    log.debug(
      `Vring ${this.index} starts: ${kind.name}, ${this.#size} entries${order}`,
    );
    this.#started = true;
    this.#touched = enabled;
  }

  /** Closes the descriptors. The ring is stopped. */
  close(): void {
    this.#armed = false;
    this.#notifiers.close();
  }

  /**
   * Changes what only a stopped ring can change. One that was never enabled
   * since it started has done nothing: it is stopped and started around the
   * change, so that SET_VRING_KICK may come first.
   */
  async #reconfigure(what: string, change: () => void): Promise<void> {
    if (this.#started && this.#touched) {
      throw new ProtocolError(
        `Vring ${this.index} runs, its ${what} can't change: send ` +
          "GET_VRING_BASE first",
      );
    }
    await this.stop();
    const size = this.#size;
    const base = this.#base;
    const stoppedAt = this.#stoppedAt;
    change();
    try {
      await this.startIfReady();
    } catch (error) {
      this.#size = size;
      this.#base = base;
      this.#stoppedAt = stoppedAt;
      await this.#startAgain();
      throw error;
    }
  }

  /** After what was refused it runs as before, if it did. */
  async #startAgain(): Promise<void> {
    try {
      await this.startIfReady();
    } catch (error) {
      log.debug(`Vring ${this.index} does not start again: ${error}`);
    }
  }

  /**
   * The kind of ring that it is. Before SET_FEATURES, the one that allows more;
   * what was said then is checked again when the ring starts.
   */
  get #kind(): RingKind {
    return ringKind(this.#host.features ?? this.#host.backend.features);
  }

  #checkSize(size: number, kind: RingKind): void {
    const { queueSizeMax } = this.#host.backend;
    if (size <= queueSizeMax && kind.isSize(size)) return;
    throw new ProtocolError(
      `Vring ${this.index} can't have ${size} entries: ${kind.sizes} up to ` +
        `${queueSizeMax} is wanted`,
    );
  }

  #checkBase(base: number, kind: RingKind): void {
    if (kind.isBase(base, this.#size)) return;
    throw new ProtocolError(
      `Vring ${this.index} can't start at ${base}: ` +
        (kind === PACKED
          ? "a packed ring has positions below its size"
          : "a split ring has indices up to 65535"),
    );
  }

  /** The log of the used ring of a started ring is switched on or off. */
  async #setLog(address: VringAddress): Promise<void> {
    const usedLog = usedLogOf(address);
    await this.#host.backend.setUsedLog(this.index, usedLog);
    this.#address = address;
  }

  /** Starts the ring once all is known; `setKick` says how it is kicked. */
  async #arm(setKick: () => void): Promise<void> {
    setKick();
    this.#armed = true;
    try {
      await this.startIfReady();
    } catch (error) {
      this.#disarm();
      throw error;
    }
  }

  /** The areas in guest addresses. */
  #translate(): VringAreas {
    return translateAreas(
      this.index,
      this.#address!,
      this.#size,
      this.#kind,
      this.#host,
    );
  }

  #disarm(): void {
    this.#armed = false;
    this.#notifiers.forgetKick();
  }

  /** How the data plane is told of another call or err, where the ring runs. */
  #replace(
    set: (index: number, fd: number) => Promise<void>,
  ): ((fd: number) => Promise<void>) | null {
    if (!this.#started) return null;
    return (fd) => set.call(this.#host.backend, this.index, fd);
  }
}
