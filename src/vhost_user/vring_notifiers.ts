/**
 * How the two ends of a vring notify each other: its kick, call and err.
 *
 * Each is a descriptor of the front-end's or, where in-band notifications were
 * negotiated and it sent none, an eventfd of our own, by which messages reach
 * the data plane and the other way round. So the data plane has nothing to do
 * with messages.
 *
 * @module
 */
import { EventFd, signalEventFd } from "../io/event_fd.ts";
import type { Fd } from "../io/fd.ts";
import type { Bridge, NoticeKind } from "./in_band.ts";
import { checkNotifier } from "./notifier.ts";

/** What the notifiers of a vring need to know of the session. */
export interface NotifierHost {
  /**
   * Where the calls, or the errors, of vring `index` become messages; null
   * where in-band notifications were not negotiated.
   */
  bridge(kind: NoticeKind, index: number): Bridge | null;
}

/** Tells the data plane of another descriptor, -1 for none. */
type Replace = (fd: number) => Promise<void>;

/** The kick, call and err of one vring. Owns every descriptor. */
export class VringNotifiers {
  readonly #index: number;
  readonly #kick = { fd: null as Fd | null, ours: null as EventFd | null };
  readonly #call: Notifier;
  readonly #err: Notifier;

  /** Of vring `index`; the front-end has said nothing of them yet. */
  constructor(index: number, host: NotifierHost) {
    this.#index = index;
    this.#call = new Notifier("call", index, host);
    this.#err = new Notifier("err", index, host);
  }

  /** What the driver's kicks can be waited for on, or -1: the ring is polled. */
  get kickFd(): number {
    return this.#kick.ours?.fd.number ?? this.#kick.fd?.number ?? -1;
  }

  /** What to signal for the driver, or -1. */
  get callFd(): number {
    return this.#call.open();
  }

  /** What to signal when the ring breaks, or -1. */
  get errFd(): number {
    return this.#err.open();
  }

  /** Refuses, and closes, what can't be a kick. */
  checkKick(fd: Fd | null): void {
    if (fd !== null) checkNotifier(nameOf("kick", this.#index), fd);
  }

  /** SET_VRING_KICK, of a ring that is stopped; null: it is polled. */
  setKick(fd: Fd | null): void {
    this.forgetKick();
    this.#kick.fd = fd;
  }

  /** VRING_KICK starts the ring: kicks are messages. */
  setKickInBand(): void {
    this.forgetKick();
    this.#kick.ours = EventFd.open();
  }

  /** VRING_KICK: the data plane is kicked. */
  kick(): void {
    if (this.kickFd >= 0) signalEventFd(this.kickFd);
  }

  /** The ring was stopped: whoever starts it sends a kick anew. */
  forgetKick(): void {
    this.#kick.fd?.close();
    this.#kick.fd = null;
    this.#kick.ours?.[Symbol.dispose]();
    this.#kick.ours = null;
  }

  /** SET_VRING_CALL; null: the driver polls. `replace` on a ring that runs. */
  setCall(fd: Fd | null, replace: Replace | null): Promise<void> {
    return this.#call.set(fd, fd === null, replace);
  }

  /** SET_VRING_ERR; null: none. `replace` on a ring that runs. */
  setErr(fd: Fd | null, replace: Replace | null): Promise<void> {
    return this.#err.set(fd, false, replace);
  }

  /** The ring was stopped: as if the front-end had said nothing of calls. */
  forgetCall(): void {
    this.#call.forget();
  }

  /** What the data plane has signalled up to now is told at once. */
  flush(): void {
    this.#call.flush();
    this.#err.flush();
  }

  /** Closes all of them. */
  close(): void {
    this.forgetKick();
    this.#call.forget();
    this.#err.forget();
  }
}

/** The call, or the err, of one vring. */
class Notifier {
  readonly #kind: NoticeKind;
  readonly #index: number;
  readonly #host: NotifierHost;
  #fd: Fd | null = null;
  #bridge: Bridge | null = null;
  /** The front-end looks by itself, and wants no message either. */
  #silent = false;

  constructor(kind: NoticeKind, index: number, host: NotifierHost) {
    this.#kind = kind;
    this.#index = index;
    this.#host = host;
  }

  /** What to signal, or -1. */
  open(): number {
    if (this.#fd !== null) return this.#fd.number;
    if (!this.#silent) {
      this.#bridge ??= this.#host.bridge(this.#kind, this.#index);
    }
    return this.#bridge?.number ?? -1;
  }

  /** Takes `fd` over. The old one is closed once nobody signals it. */
  async set(
    fd: Fd | null,
    silent: boolean,
    replace: Replace | null,
  ): Promise<void> {
    if (fd !== null) checkNotifier(nameOf(this.#kind, this.#index), fd, true);
    const before = {
      fd: this.#fd,
      bridge: this.#bridge,
      silent: this.#silent,
    };
    this.#fd = fd;
    this.#silent = silent;
    if (fd !== null || silent) this.#bridge = null;
    try {
      if (replace !== null) await replace(this.open());
    } catch (error) {
      fd?.close();
      if (this.#bridge !== before.bridge) this.#bridge?.[Symbol.dispose]();
      this.#fd = before.fd;
      this.#bridge = before.bridge;
      this.#silent = before.silent;
      throw error;
    }
    before.fd?.close();
    if (before.bridge !== this.#bridge) close(before.bridge);
  }

  flush(): void {
    this.#bridge?.flush();
  }

  forget(): void {
    this.#fd?.close();
    this.#fd = null;
    close(this.#bridge);
    this.#bridge = null;
    this.#silent = false;
  }
}

/** What was signalled before it is closed is told. */
function close(bridge: Bridge | null): void {
  bridge?.flush();
  bridge?.[Symbol.dispose]();
}

function nameOf(kind: string, index: number): string {
  return `${kind} descriptor of vring ${index}`;
}
