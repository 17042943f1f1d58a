/**
 * The host's side as a TAP interface of the kernel.
 *
 * @module
 */
import { SystemError, UsageError } from "../../src/errors.ts";
import {
  EBUSY,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_TSO_ECN,
  TUN_F_UFO,
  TUN_F_USO4,
  TUN_F_USO6,
} from "../../src/ffi/abi.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { CancelledError, Reactor } from "../../src/io/reactor.ts";
import { Tap } from "../../src/io/tap.ts";
import { log } from "../../src/log.ts";
import type { Host, HostControl } from "./backend.ts";
import { REATTACHED, type TapSeed } from "./port_tap.ts";
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UFO,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UFO,
  VIRTIO_NET_F_HOST_USO,
} from "./protocol.ts";

/** How often an interface that was removed is looked for. */
const RETRY_MS = 500;
/**
 * How long another one may have it. The kernel lets go of what an io_uring held
 * some time after the process was gone: 30 to 40 ms were seen.
 */
const PATIENCE_MS = 1000;
/** How often it is tried meanwhile. */
const PAUSE_MS = 10;
/** Where the interface is in another network namespace, and can't be asked. */
const MTU_UNKNOWN = 1500;

/** What both directions need of the kernel: bits of TUN_F, and the features. */
const OFFLOADS: readonly (readonly [
  bits: number,
  guest: bigint,
  host: bigint,
])[] = [
  [TUN_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM],
  [TUN_F_TSO4, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4],
  [TUN_F_TSO6, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6],
  [TUN_F_TSO_ECN, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN],
  [TUN_F_UFO, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO],
  // The kernel knows the two of them together only.
  [
    TUN_F_USO4 | TUN_F_USO6,
    VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6,
    VIRTIO_NET_F_HOST_USO,
  ],
];

/** A TAP interface, one queue a pair. */
export class TapHost implements Host {
  readonly features: bigint;
  readonly mtu: number;
  readonly seed: TapSeed;
  readonly #tap: Tap;
  readonly #lost = EventFd.open();
  #control: HostControl | null = null;
  /** What the kernel was told, to be told again to a new interface. */
  #offload = 0;
  #carrier = false;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** Takes `tap` over. */
  constructor(tap: Tap) {
    this.#tap = tap;
    this.mtu = tap.mtu() ?? MTU_UNKNOWN;
    this.features = featuresOf(tap.offloads);
    this.seed = {
      kind: "tap",
      fds: tap.queues.map((queue) => queue.number),
      multiQueue: tap.queues.length > 1,
      lostFd: this.#lost.fd.number,
    };
    tap.setCarrier(false);
  }

  attach(control: HostControl): void {
    this.#control = control;
    void this.#watch();
  }

  negotiated(features: bigint): void {
    this.#offload = offloadOf(features);
    this.#carrier = true;
    this.#apply();
  }

  reset(): void {
    this.#offload = 0;
    this.#carrier = false;
    this.#apply();
  }

  inject(frame: Uint8Array<ArrayBuffer>): void {
    this.#tap.write(frame);
  }

  close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    Reactor.main.cancel(this.#lost.fd.number);
    this.#lost[Symbol.dispose]();
    this.#tap[Symbol.dispose]();
    return Promise.resolve();
  }

  #apply(): void {
    if (!this.#tap.isAttached()) return;
    this.#tap.setOffload(this.#offload);
    this.#tap.setCarrier(this.#carrier);
  }

  /** Waits for a port to say that the interface is gone. */
  async #watch(): Promise<void> {
    try {
      await Reactor.main.readable(this.#lost.fd.number);
    } catch (error) {
      if (error instanceof CancelledError) return;
      throw error;
    }
    this.#lost.clear();
    log.warn(
      `The interface ${this.#tap.name} was removed: the device goes on as ` +
        "soon as there is one of this name again",
    );
    this.#control?.setLink(false);
    this.#retry();
  }

  #retry(): void {
    this.#timer = setTimeout(() => void this.#reattach(), RETRY_MS);
  }

  async #reattach(): Promise<void> {
    this.#timer = null;
    if (this.#closed) return;
    if (!this.#tap.reattach()) return this.#retry();
    this.#apply();
    log.info(`The interface ${this.#tap.name} is there again`);
    try {
      await this.#control?.update(REATTACHED);
    } catch {
      // The threads are gone, which their carrier tells.
      return;
    }
    if (this.#closed) return;
    this.#control?.setLink(true);
    await this.#watch();
  }
}

/**
 * Opens what `--ifname` or `--tap-fd` names. Rejects where that can't be, or
 * another process does not let go of the interface for `patienceMs`.
 */
export async function openTap(
  name: string | undefined,
  fds: string | undefined,
  pairCount: number,
  patienceMs: number = PATIENCE_MS,
): Promise<Tap> {
  if ((name === undefined) === (fds === undefined)) {
    throw new UsageError(
      name === undefined
        ? "There is no interface to serve: give --ifname NAME or --tap-fd FD"
        : "There are --ifname and --tap-fd: leave one of them out",
    );
  }
  if (fds === undefined) return await openNamed(name!, pairCount, patienceMs);
  const numbers = fds.split(",").map((text) => {
    if (/^[0-9]{1,9}$/.test(text)) return Number(text);
    throw new UsageError(
      `--tap-fd is "${fds}": give it numbers with commas between them, one ` +
        "for each queue pair",
    );
  });
  if (numbers.length !== pairCount) {
    throw new UsageError(
      `--tap-fd has ${numbers.length} descriptors and --queue-pairs is ` +
        `${pairCount}: give as many`,
    );
  }
  return Tap.fromFds(numbers);
}

/** Opens an interface that a process which has just ended may still have. */
async function openNamed(
  name: string,
  pairCount: number,
  patienceMs: number,
): Promise<Tap> {
  const end = performance.now() + patienceMs;
  for (;;) {
    try {
      return Tap.open(name, pairCount);
    } catch (error) {
      const isTaken = error instanceof SystemError && error.errno === EBUSY;
      if (!isTaken || performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function featuresOf(bits: number): bigint {
  let features = 0n;
  for (const [needed, guest, host] of OFFLOADS) {
    if ((bits & needed) === needed) features |= guest | host;
  }
  return features;
}

function offloadOf(features: bigint): number {
  let bits = 0;
  for (const [needed, guest] of OFFLOADS) {
    if ((features & guest) === guest) bits |= needed;
  }
  // The kernel takes none of them without checksums; nor does virtio (§5.1.3.1).
  return (bits & TUN_F_CSUM) !== 0 ? bits : 0;
}
