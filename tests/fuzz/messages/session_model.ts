/**
 * What a session is to answer, as far as it can be foretold from the
 * specification and from what was sent before.
 *
 * @module
 */
import {
  configHeader,
  decodeMemoryTable,
  encodeConfig,
  singleMemoryRegion,
  u64,
  vringAddress,
  vringFd,
  vringState,
} from "../../../src/vhost_user/message.ts";
import {
  protocolBit,
  VHOST_USER as R,
  VHOST_USER_PROTOCOL_F as F,
} from "../../../src/vhost_user/protocol.ts";
import { MemoryModel } from "./memory_model.ts";
import type { Outgoing } from "./outgoing.ts";
import { repliesItself, type RequestRule, ruleOf } from "./requests.ts";

/** Offered for every device: LOG_ALL and PROTOCOL_FEATURES. */
const TRANSPORT = (1n << 26n) | (1n << 30n);
const RING_PACKED = 1n << 34n;
/** INDIRECT_DESC and EVENT_IDX, which QEMU sends unasked. */
const TOLERATED = (1n << 28n) | (1n << 29n);
const FEATURES_OK = 8;
/** Position 0, and both wrap counters 1. */
const PACKED_START = 0x8000_8000;
/** The base of a vring that nobody has set. */
const DEFAULT = -1;

/** What the model knows of the back-end. */
export interface SessionFacts {
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  /** Its config space as it is now. */
  readonly config: Uint8Array;
  /** Bytes of that, from the first on, that may be written. */
  readonly writable: number;
}

/** Accepted, refused, the session ends at once, or any but the last. */
export type Verdict = "accepted" | "refused" | "fatal" | "either";

/** The state of one session. */
export class SessionModel {
  readonly memory = new MemoryModel();
  readonly #facts: SessionFacts;
  #protocolFeatures = 0n;
  /** What was accepted last; null before that, "any" where it is not known. */
  #features: bigint | null | "any" = null;
  #status = 0;
  /** By vring: what GET_VRING_BASE answers; null where that is not known. */
  readonly #bases: (number | null)[];
  /** The config space. */
  readonly #space: Uint8Array;

  /** Nothing was sent yet. */
  constructor(facts: SessionFacts) {
    this.#facts = facts;
    this.#bases = Array.from({ length: facts.queueCount }, () => DEFAULT);
    this.#space = facts.config.slice();
  }

  /** Whether an acknowledgement is due that `message` asks for. */
  mustAck({ flags }: Outgoing): boolean {
    return (flags & 8) !== 0 && this.#has(F.REPLY_ACK);
  }

  /** What is to become of `message`. */
  verdict(message: Outgoing): Verdict {
    const { request, flags, payload } = message;
    const claimed = message.claimed ?? payload.length;
    if ((flags & ~0xf) !== 0 || (flags & 3) !== 1) return "fatal";
    if (claimed > 4096) return "fatal";
    const rule = ruleOf(request);
    // What has no rule is not served.
    if ((flags & 4) !== 0 || rule === null) return "refused";
    if (!this.#isWellFormed(rule, message)) return "refused";
    return this.#judge(message);
  }

  /** The payload of the own reply to `message`, or null where it may be any. */
  replyTo({ request, payload }: Outgoing): Uint8Array | null {
    const { features, protocolFeatures, queueCount } = this.#facts;
    switch (request) {
      case R.GET_FEATURES:
        return number(features | TRANSPORT);
      case R.GET_PROTOCOL_FEATURES:
        return number(protocolFeatures);
      case R.GET_QUEUE_NUM:
        return number(BigInt(queueCount));
      case R.GET_MAX_MEM_SLOTS:
        return number(509n);
      case R.GET_STATUS:
        return this.#features === "any" ? null : number(BigInt(this.#status));
      case R.GET_CONFIG:
        return this.#config(payload);
      case R.GET_VRING_BASE: {
        const { index } = vringState.decode(payload);
        const num = this.#base(index);
        return num === null ? null : vringState.encode({ index, num });
      }
      default:
        return null;
    }
  }

  /** `message` was refused, and may have had an effect all the same. */
  refused({ request }: Outgoing): void {
    // The features may be in force, and a ring not enabled.
    if (request === R.SET_FEATURES) this.#setFeatures("any");
  }

  /** `message` was accepted. */
  took({ request, payload, fds }: Outgoing): void {
    switch (request) {
      case R.SET_FEATURES:
        this.#setFeatures(u64.decode(payload).value);
        break;
      case R.SET_PROTOCOL_FEATURES:
        this.#protocolFeatures = u64.decode(payload).value;
        break;
      case R.SET_MEM_TABLE:
        return this.memory.replace(decodeMemoryTable(payload), fds);
      case R.ADD_MEM_REG:
        return this.memory.add(singleMemoryRegion.decode(payload), fds[0]!);
      case R.REM_MEM_REG:
        return this.memory.remove(singleMemoryRegion.decode(payload));
      case R.SET_VRING_BASE: {
        const { index, num } = vringState.decode(payload);
        this.#bases[index] = num;
        break;
      }
      case R.SET_CONFIG: {
        const { offset } = configHeader.decode(payload);
        this.#space.set(payload.subarray(configHeader.size), offset);
        break;
      }
      case R.RESET_DEVICE:
        this.#reset(DEFAULT);
        break;
      case R.SET_STATUS:
        this.#setStatus(Number(u64.decode(payload).value));
    }
  }

  #isWellFormed(rule: RequestRule, { payload, fds }: Outgoing): boolean {
    if (rule.needs >= 0 && !this.#has(rule.needs)) return false;
    const [min, max] = rule.size;
    if (payload.length < min || payload.length > max) return false;
    switch (rule.fds) {
      case "any":
        return fds.length <= 1;
      case "vring":
        return fds.length === (vringFd.decode(payload).noFd ? 0 : 1);
      case "regions": {
        const count = vringState.decode(payload).index;
        // User Mode Linux leaves room for more.
        const room = payload.subarray(8 + 32 * count);
        return fds.length === count && payload.length % 32 === 8 &&
          payload.length >= 8 + 32 * count && room.every((byte) => byte === 0);
      }
      default:
        return fds.length === rule.fds;
    }
  }

  #judge({ request, payload, fds }: Outgoing): Verdict {
    const { features, protocolFeatures, queueCount } = this.#facts;
    switch (request) {
      case R.SET_FEATURES: {
        const { value } = u64.decode(payload);
        const known = features | TRANSPORT | TOLERATED;
        return (value & ~known) === 0n ? "either" : "refused";
      }
      case R.SET_PROTOCOL_FEATURES: {
        const { value } = u64.decode(payload);
        if ((value & ~protocolFeatures) !== 0n) return "refused";
        return lacksWhatInBandNeeds(value) ? "fatal" : "accepted";
      }
      case R.SET_MEM_TABLE: {
        const regions = decodeMemoryTable(payload);
        return yes(this.memory.canReplace(regions, fds));
      }
      case R.ADD_MEM_REG: {
        const region = singleMemoryRegion.decode(payload);
        return yes(this.memory.canAdd(region, fds[0]!));
      }
      case R.REM_MEM_REG:
        return yes(this.memory.canRemove(singleMemoryRegion.decode(payload)));
      case R.SET_STATUS:
        return yes(u64.decode(payload).value <= 0xffn);
      case R.SET_BACKEND_REQ_FD:
        return yes(fds[0] === "socket");
      case R.NET_SET_MTU: {
        const { value } = u64.decode(payload);
        return yes(value >= 68n && value <= 65535n);
      }
      case R.IOTLB_MSG:
        // Nobody is behind an IOMMU.
        return "refused";
      case R.SET_DEVICE_STATE_FD: {
        const { index: direction, num: phase } = vringState.decode(payload);
        const known = direction <= 1 && phase === 0 && fds[0] === "socket";
        return known ? "either" : "refused";
      }
      case R.RESET_OWNER:
      case R.SET_LOG_BASE:
      case R.SET_LOG_FD:
      case R.GET_INFLIGHT_FD:
      case R.SET_INFLIGHT_FD:
      case R.CHECK_DEVICE_STATE:
        return "either";
      case R.SET_CONFIG:
        return this.#judgeConfig(payload);
      case R.SET_VRING_KICK:
      case R.SET_VRING_CALL:
      case R.SET_VRING_ERR:
        return this.#judgeNotifier(request, payload, fds);
      case R.SET_VRING_ADDR: {
        const { index, descriptor, used, available } = vringAddress
          .decode(payload);
        const aligned = descriptor % 16 === 0 && used % 4 === 0 &&
          available % 2 === 0;
        return index < queueCount && aligned ? "either" : "refused";
      }
      case R.SET_VRING_NUM:
      case R.SET_VRING_BASE:
      case R.SET_VRING_ENABLE:
      case R.VRING_KICK:
      case R.GET_VRING_BASE:
        return this.#judgeState(request, payload);
      default:
        return "accepted";
    }
  }

  #judgeConfig(payload: Uint8Array): Verdict {
    const { offset, size, flags } = configHeader.decode(payload);
    const told = size === payload.length - configHeader.size;
    return yes(
      told && flags <= 1 && offset + size <= this.#facts.writable,
    );
  }

  #judgeState(request: number, payload: Uint8Array): Verdict {
    const { queueCount, queueSizeMax } = this.#facts;
    const { index, num } = vringState.decode(payload);
    if (index >= queueCount) return "refused";
    switch (request) {
      case R.GET_VRING_BASE:
        return "accepted";
      case R.SET_VRING_ENABLE:
        return num > 1 ? "refused" : "either";
      case R.VRING_KICK:
        return num > 0 ? "refused" : "either";
      case R.SET_VRING_NUM:
        return num < 1 || num > queueSizeMax ? "refused" : "either";
      default:
        return "either";
    }
  }

  #judgeNotifier(
    request: number,
    payload: Uint8Array,
    fds: Outgoing["fds"],
  ): Verdict {
    const { index } = vringFd.decode(payload);
    if (index >= BigInt(this.#facts.queueCount)) return "refused";
    const isKick = request === R.SET_VRING_KICK;
    const [kind = "event"] = fds;
    // What is only signalled may be a socket.
    if (kind !== "event" && (isKick || kind !== "socket")) return "refused";
    return isKick ? "either" : "accepted";
  }

  /** GET_CONFIG: what was asked for, padded with zeros, or nothing. */
  #config(payload: Uint8Array): Uint8Array {
    const { offset, size, flags } = configHeader.decode(payload);
    const body = payload.length - configHeader.size;
    const nothing = new Uint8Array(0);
    if (size === 0 || size > 256 || offset + size > 256) return nothing;
    if (body !== 0 && body !== size) return nothing;
    const bytes = new Uint8Array(size);
    bytes.set(this.#space.subarray(offset, offset + size));
    return encodeConfig(offset, flags, bytes);
  }

  #setStatus(status: number): void {
    // Where a ring was that went on from a base that is forgotten now.
    if (status === 0) return this.#reset(null);
    const agreed = this.#features !== null;
    this.#status = agreed ? status : status & ~FEATURES_OK;
  }

  #setFeatures(features: bigint | "any"): void {
    const before = this.#features;
    this.#features = features;
    if (before === null && features !== "any") return;
    if (kindOf(before) === kindOf(features) && features !== "any") return;
    // A ring that ran goes on from where rings of its kind begin.
    for (const [i, base] of this.#bases.entries()) {
      if (base === DEFAULT) this.#bases[i] = null;
    }
  }

  #base(index: number): number | null {
    const base = this.#bases[index] ?? null;
    if (base !== DEFAULT) return base;
    return kindOf(this.#features) === "packed" ? PACKED_START : 0;
  }

  #reset(base: number | null): void {
    this.#features = null;
    this.#status = 0;
    this.#bases.fill(base);
  }

  #has(feature: number): boolean {
    return (this.#protocolFeatures & protocolBit(feature)) !== 0n;
  }
}

/** Whether the answer to `message`, which was accepted, is its own. */
export function hasOwnReply({ request }: Outgoing): boolean {
  return repliesItself(request);
}

/** The kind of rings that `features` ask for. */
function kindOf(features: bigint | null | "any"): string {
  if (features === "any") return features;
  return ((features ?? 0n) & RING_PACKED) === 0n ? "split" : "packed";
}

/** In-band notifications are acknowledged messages of the back-end. */
function lacksWhatInBandNeeds(features: bigint): boolean {
  const has = (feature: number) => (features & protocolBit(feature)) !== 0n;
  return has(F.INBAND_NOTIFICATIONS) &&
    !(has(F.BACKEND_REQ) && has(F.REPLY_ACK));
}

function yes(accepted: boolean): Verdict {
  return accepted ? "accepted" : "refused";
}

function number(value: bigint): Uint8Array {
  return u64.encode({ value });
}
