/**
 * Messages of a front-end that means well, nearly well, or ill.
 *
 * @module
 */
import type { Prng } from "../../../src/testing/mod.ts";
import {
  encodeConfig,
  encodeMemoryTable,
  inflightDescription,
  logDescription,
  type MemoryRegion,
  singleMemoryRegion,
  u64,
  vringAddress,
  vringFd,
  vringState,
} from "../../../src/vhost_user/message.ts";
import { VHOST_USER as R } from "../../../src/vhost_user/protocol.ts";
import { type FdKind, MEMORY_SIZE, type Outgoing } from "./outgoing.ts";
import { RULED, ruleOf } from "./requests.ts";
import type { SessionFacts } from "./session_model.ts";

/** What a front-end does; twice where it is done twice as often. */
export const MESSAGE_KINDS = [
  "negotiate",
  "memory",
  "ring",
  "vring",
  "vring",
  "any",
  "any",
  "any",
  "flawed",
  "flawed",
  "noise",
  "hang up",
  "hang up",
  "hang up",
  "hang up",
  "hang up",
  "hang up",
  "hang up",
  "hang up",
  "cut",
] as const;

const VERSION = 1;
const NEED_REPLY = 8;
const REGION_SIZE = 0x10_0000;
const GUEST = 0x10_0000;
const USER = 0x7f00_0000_0000;
const NUMBERS = [0, 1, 2, 3, 8, 256, 257, 1024, 65535, 65536, 2 ** 31];
const FD_KINDS: readonly FdKind[] = [
  "memory",
  "event",
  "small",
  "socket",
  "null",
];
/** What comes along where that is no memory. */
const USUAL = new Map<number, FdKind>([
  [R.SET_BACKEND_REQ_FD, "socket"],
  [R.SET_DEVICE_STATE_FD, "socket"],
  [R.SET_LOG_FD, "event"],
]);
const VRING_REQUESTS = [
  R.SET_VRING_NUM,
  R.SET_VRING_ADDR,
  R.SET_VRING_BASE,
  R.GET_VRING_BASE,
  R.SET_VRING_KICK,
  R.SET_VRING_CALL,
  R.SET_VRING_ERR,
  R.SET_VRING_ENABLE,
  R.VRING_KICK,
] as const;

/** Makes the messages of one session. */
export class Generator {
  readonly #facts: SessionFacts;

  /** For a back-end of `facts`. */
  constructor(facts: SessionFacts) {
    this.#facts = facts;
  }

  /** What a front-end that does `kind` sends. */
  messages(kind: string, prng: Prng): Outgoing[] {
    switch (kind) {
      case "negotiate":
        return this.#negotiate(prng);
      case "memory":
        return [this.#memory(prng)];
      case "ring":
        return this.ring(prng, prng.below(this.#facts.queueCount));
      case "vring":
        return [this.#any(prng, prng.pick(VRING_REQUESTS))];
      case "flawed":
        return [this.#flaw(prng, this.#any(prng, this.#request(prng)))];
      case "noise":
        return [{ ...this.#any(prng, prng.next()), flags: prng.next() & ~1 }];
      default:
        return [this.#any(prng, this.#request(prng))];
    }
  }

  /** Sets ring `index` up, in any order, and enables it. */
  ring(prng: Prng, index: number): Outgoing[] {
    const size = prng.pick([1, 2, 64, 256]);
    const messages = [
      message(R.SET_VRING_NUM, vringState.encode({ index, num: size })),
      message(
        R.SET_VRING_BASE,
        vringState.encode({ index, num: prng.below(65536) }),
      ),
      message(R.SET_VRING_ADDR, addressOf(prng, index)),
      message(R.SET_VRING_CALL, notifierOf(index), ["event"]),
      message(R.SET_VRING_KICK, notifierOf(index), ["event"]),
      message(R.SET_VRING_ENABLE, vringState.encode({ index, num: 1 })),
    ];
    for (let i = messages.length - 1; i > 0; i--) {
      const j = prng.below(i + 1);
      [messages[i], messages[j]] = [messages[j]!, messages[i]!];
    }
    return messages;
  }

  /** How a session begins that means to come far. */
  beginning(prng: Prng): Outgoing[] {
    const { features, protocolFeatures } = this.#facts;
    const begins = [
      message(R.SET_PROTOCOL_FEATURES, number(protocolFeatures)),
      message(R.SET_FEATURES, number(features | 1n << 30n)),
    ];
    if (!prng.oneIn(3)) begins.push(soundMemory(1 + prng.below(3)));
    return begins;
  }

  #negotiate(prng: Prng): Outgoing[] {
    const { features, protocolFeatures } = this.#facts;
    const dropped = prng.oneIn(3) ? 1n << BigInt(prng.below(20)) : 0n;
    const bit30 = prng.oneIn(4) ? 0n : 1n << 30n;
    const all = [
      message(R.SET_PROTOCOL_FEATURES, number(protocolFeatures & ~dropped)),
      message(R.SET_OWNER),
      message(R.SET_FEATURES, number(features | bit30)),
    ];
    return prng.oneIn(4) ? all.slice(prng.below(3)) : all;
  }

  #memory(prng: Prng): Outgoing {
    const request = prng.pick([R.SET_MEM_TABLE, R.ADD_MEM_REG, R.REM_MEM_REG]);
    return this.#any(prng, request);
  }

  #request(prng: Prng): number {
    const roll = prng.below(20);
    if (roll === 0) return prng.below(60);
    return prng.pick(RULED);
  }

  /** `request` as it should be, but for its values. */
  #any(prng: Prng, request: number): Outgoing {
    const payload = this.#payload(prng, request);
    const sent = message(request, payload, this.#fds(prng, request, payload));
    return prng.oneIn(25) ? { ...sent, flags: VERSION } : sent;
  }

  #payload(prng: Prng, request: number): Uint8Array<ArrayBuffer> {
    const { features, protocolFeatures, queueCount } = this.#facts;
    const index = prng.oneIn(12)
      ? prng.pick([queueCount, 255, 256, 2 ** 32 - 1])
      : prng.below(queueCount);
    switch (request) {
      case R.SET_FEATURES:
        return number(features | (prng.oneIn(2) ? 1n << 30n : 0n));
      case R.SET_PROTOCOL_FEATURES:
        return number(protocolFeatures);
      case R.SET_STATUS:
        return number(BigInt(prng.pick([15, 15, 7, 11, 256, 0])));
      case R.SET_MEM_TABLE:
        return withRoom(encodeMemoryTable(regionsOf(prng)), prng);
      case R.ADD_MEM_REG:
      case R.REM_MEM_REG:
        return singleMemoryRegion.encode(regionOf(prng));
      case R.SET_VRING_ADDR:
        return addressOf(prng, index);
      case R.SET_VRING_KICK:
      case R.SET_VRING_CALL:
      case R.SET_VRING_ERR:
        return notifierOf(index, prng.oneIn(4));
      case R.SET_VRING_ENABLE:
        return vringState.encode({ index, num: prng.pick([1, 1, 1, 0, 2]) });
      case R.VRING_KICK:
        return vringState.encode({ index, num: prng.oneIn(9) ? 1 : 0 });
      case R.SET_DEVICE_STATE_FD:
        return vringState.encode({
          index: prng.oneIn(9) ? 2 : prng.below(2),
          num: prng.oneIn(9) ? 1 : 0,
        });
      case R.NET_SET_MTU:
        return number(BigInt(prng.pick([68, 1500, 65535, 67, 65536])));
      case R.SET_LOG_BASE:
        return logDescription.encode({
          size: prng.pick([0, 1, 4096, MEMORY_SIZE]),
          offset: prng.pick([0, 0, 0, 1, 4096]),
        });
      case R.GET_INFLIGHT_FD:
      case R.SET_INFLIGHT_FD:
        return inflightDescription.encode({
          mmapSize: prng.pick([0, 4096, MEMORY_SIZE]),
          mmapOffset: prng.pick([0, 0, 0, 1]),
          queueCount: prng.pick([queueCount, queueCount, 1, 0, 65535]),
          queueSize: prng.pick([256, 1024, 64, 1, 0, 65535]),
        });
      case R.GET_CONFIG:
        return encodeConfig(
          prng.pick([0, 0, 1, 60, 200, 256, 2 ** 32 - 1]),
          prng.below(2),
          new Uint8Array(prng.pick([1, 4, 8, 60, 200, 256])),
        );
      case R.SET_CONFIG: {
        const bytes = prng.fill(new Uint8Array(1 + prng.below(4)));
        return encodeConfig(prng.below(5), prng.below(3), bytes);
      }
      default: {
        const size = ruleOf(request)?.size[0] ?? 8;
        if (size !== 8) return prng.fill(new Uint8Array(size));
        return vringState.encode({ index, num: prng.pick(NUMBERS) });
      }
    }
  }

  /** As many descriptors as `request` wants, of the kind it wants, mostly. */
  #fds(prng: Prng, request: number, payload: Uint8Array): FdKind[] {
    const wanted = ruleOf(request)?.fds ?? 0;
    let count = typeof wanted === "number" ? wanted : 0;
    if (wanted === "regions") count = payload[0]!;
    else if (wanted === "vring") count = payload[1]! & 1 ? 0 : 1;
    else if (wanted === "any") count = prng.below(2);
    const usual = wanted === "vring" ? "event" : USUAL.get(request) ?? "memory";
    return Array.from(
      { length: count },
      () => prng.oneIn(20) ? prng.pick(FD_KINDS) : usual,
    );
  }

  /** `sent` with something wrong. */
  #flaw(prng: Prng, sent: Outgoing): Outgoing {
    switch (prng.below(6)) {
      case 0:
        return { ...sent, payload: prng.fill(sent.payload) };
      case 1: {
        const size = Math.max(0, sent.payload.length + prng.below(17) - 8);
        const payload = new Uint8Array(size);
        payload.set(sent.payload.subarray(0, size));
        return { ...sent, payload };
      }
      case 2: {
        const fds = Array.from(
          { length: prng.below(10) },
          () => prng.pick(FD_KINDS),
        );
        return { ...sent, fds };
      }
      case 3: {
        if (sent.payload.length === 0) return sent;
        // A bit here, all bits there.
        const payload = sent.payload.slice();
        payload[prng.below(payload.length)]! ^= 1 << prng.below(8);
        if (prng.oneIn(4)) payload.fill(255, prng.below(payload.length));
        return { ...sent, payload };
      }
      case 4:
        return { ...sent, apart: true };
      default: {
        if (prng.oneIn(4)) return { ...sent, claimed: 4097 + prng.below(9) };
        const flags = prng.oneIn(4) ? prng.next() : sent.flags ^ 4;
        return { ...sent, flags };
      }
    }
  }
}

/** A message that wants to be acknowledged. */
export function message(
  request: number,
  payload: Uint8Array<ArrayBuffer> = new Uint8Array(0),
  fds: readonly FdKind[] = [],
): Outgoing {
  return { request, flags: VERSION | NEED_REPLY, payload, fds };
}

/** SET_MEM_TABLE of `count` regions, at most 4. */
export function soundMemory(count: number): Outgoing {
  const fds = Array.from({ length: count }, (): FdKind => "memory");
  return message(R.SET_MEM_TABLE, encodeMemoryTable(soundRegions(count)), fds);
}

/** A table that is sound, mostly. */
function regionsOf(prng: Prng): MemoryRegion[] {
  const count = 1 + prng.below(prng.oneIn(8) ? 9 : 3);
  if (!prng.oneIn(3)) return soundRegions(count);
  return Array.from({ length: count }, () => regionOf(prng));
}

/** `table` with room for more regions, now and then. */
function withRoom(
  table: Uint8Array<ArrayBuffer>,
  prng: Prng,
): Uint8Array<ArrayBuffer> {
  if (!prng.oneIn(9)) return table;
  const roomy = new Uint8Array(table.length + prng.pick([32, 32, 64, 16]));
  roomy.set(table);
  if (prng.oneIn(4)) roomy[table.length + prng.below(16)] = 1;
  return roomy;
}

function soundRegions(count: number): MemoryRegion[] {
  return Array.from({ length: count }, (_, i) => ({
    guestAddress: GUEST + i * REGION_SIZE,
    size: REGION_SIZE,
    userAddress: USER + i * REGION_SIZE,
    mmapOffset: i % 4 * REGION_SIZE,
  }));
}

function regionOf(prng: Prng): MemoryRegion {
  const shift = prng.pick([0, 0, 1, 2, 3, 0.5]) * REGION_SIZE;
  return {
    guestAddress: GUEST + shift,
    size: prng.oneIn(8)
      ? prng.pick([4096, 4097, 0, 2 ** 53, MEMORY_SIZE])
      : REGION_SIZE,
    userAddress: USER + shift,
    mmapOffset: prng.pick([0, 0, 0, 4096, 1]),
  };
}

/** The areas of ring `index`, somewhere in the first region, mostly. */
function addressOf(prng: Prng, index: number): Uint8Array<ArrayBuffer> {
  const start = USER + (index % 16) * 0x1_0000;
  const off = (size: number) => prng.oneIn(12) ? prng.below(size) : 0;
  return vringAddress.encode({
    index,
    flags: prng.oneIn(12) ? 1 : 0,
    log: 0,
    descriptor: start + off(64),
    available: start + 0x4000 + off(8),
    used: prng.oneIn(12) ? start : start + 0x8000 + off(0x10_0000),
  });
}

function notifierOf(index: number, noFd = false): Uint8Array<ArrayBuffer> {
  return vringFd.encode({ index: BigInt(index), noFd });
}

function number(value: bigint): Uint8Array<ArrayBuffer> {
  return u64.encode({ value });
}
