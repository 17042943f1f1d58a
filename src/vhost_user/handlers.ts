/**
 * The requests that a session serves, one row each. What a row says of the
 * payload, the descriptors and the features it needs is checked here, once,
 * before its `run` sees the message.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { Fd } from "../io/fd.ts";
import type { Message } from "./channel.ts";
import {
  configHeader,
  decodeMemoryTable,
  deviceStateTransfer,
  encodeConfig,
  inflightDescription,
  iotlbMessage,
  logDescription,
  MEMORY_TABLE_HEADER_SIZE,
  memoryRegion,
  singleMemoryRegion,
  u64,
  vringAddress,
  vringFd,
  vringState,
} from "./message.ts";
import {
  DEVICE_STATE_NOFD_MASK,
  MAX_MEM_SLOTS,
  requestName,
  VHOST_MEMORY_BASELINE_NREGIONS,
  VHOST_USER,
  VHOST_USER_MAX_CONFIG_SIZE,
  VHOST_USER_PROTOCOL_F,
} from "./protocol.ts";
import type { SessionState } from "./session_state.ts";

/** What a request may bring: exactly `min` bytes, or anything up to `max`. */
interface SizeRule {
  readonly min: number;
  readonly max: number;
}

/**
 * How many descriptors a request brings: a number, one or none ("optional"),
 * one unless bit 8 says none ("vring"), or one a region ("regions").
 */
type FdRule = 0 | 1 | "optional" | "vring" | "regions";

/** The answer of a request: none but an acknowledgement, or one of its own. */
type ReplyKind = "none" | "own";

/** The payload of an own reply, and a descriptor that goes along and is closed. */
type Reply = Uint8Array | ReplyWithFd | void;

/** An own reply that brings a descriptor. */
export interface ReplyWithFd {
  readonly payload: Uint8Array;
  readonly fd: Fd;
}

/** One request of the protocol. */
export interface Handler {
  /** Its number. */
  readonly request: number;
  /** The protocol feature that must have been negotiated, or -1. */
  readonly needs: number;
  /** Bytes of payload. */
  readonly size: SizeRule;
  /** Descriptors. */
  readonly fds: FdRule;
  /** Whether it has a reply of its own. */
  readonly reply: ReplyKind;
  /** Whether its failure is the driver's affair, and no end of the session. */
  readonly lenient: boolean;
  /** The reply that says no, where an own one can; else a session may end. */
  readonly refusal?: Uint8Array;
  /** Does it. Takes the descriptors that it keeps out of the message. */
  run(state: SessionState, message: Message): Promise<Reply> | Reply;
}

const ANY_FEATURES = -1;
const NOTHING: SizeRule = { min: 0, max: 0 };
const U64: SizeRule = exactly(u64.size);
const STATE: SizeRule = exactly(vringState.size);
const EMPTY = new Uint8Array(0);

const F = VHOST_USER_PROTOCOL_F;

type Run = Handler["run"];

/** A request without a reply of its own. */
function set(
  request: number,
  size: SizeRule,
  fds: FdRule,
  run: Run,
  needs: number = ANY_FEATURES,
  lenient = false,
): Handler {
  return { request, needs, size, fds, reply: "none", lenient, run };
}

/** A request with a reply of its own. */
function get(
  request: number,
  size: SizeRule,
  run: Run,
  needs: number = ANY_FEATURES,
  fds: FdRule = 0,
): Handler {
  return { request, needs, size, fds, reply: "own", lenient: false, run };
}

/** Every request that is served. */
export const HANDLERS: readonly Handler[] = [
  get(VHOST_USER.GET_FEATURES, NOTHING, (state) => {
    return u64.encode({ value: state.offeredFeatures });
  }),
  set(VHOST_USER.SET_FEATURES, U64, 0, (state, { payload }) => {
    return state.setFeatures(u64.decode(payload).value);
  }),
  set(VHOST_USER.SET_OWNER, NOTHING, 0, () => {}),
  set(VHOST_USER.RESET_OWNER, NOTHING, 0, (state) => state.disableVrings()),
  set(
    VHOST_USER.SET_MEM_TABLE,
    {
      min: MEMORY_TABLE_HEADER_SIZE + memoryRegion.size,
      max: MEMORY_TABLE_HEADER_SIZE +
        VHOST_MEMORY_BASELINE_NREGIONS * memoryRegion.size,
    },
    "regions",
    (state, { payload, fds }) =>
      state.setMemoryTable(decodeMemoryTable(payload), fds.splice(0)),
  ),
  get(
    VHOST_USER.SET_LOG_BASE,
    exactly(logDescription.size),
    async (state, { payload, fds }) => {
      await state.setLogBase(logDescription.decode(payload), fds[0]!);
      return u64.encode({ value: 0n });
    },
    F.LOG_SHMFD,
    1,
  ),
  set(VHOST_USER.SET_LOG_FD, NOTHING, 1, (state, { fds }) => {
    return state.setLogFd(fds.shift()!);
  }, F.LOG_SHMFD),
  set(VHOST_USER.SET_VRING_NUM, STATE, 0, (state, { payload }) => {
    const { index, num } = vringState.decode(payload);
    return state.vring(index).setSize(num);
  }),
  set(
    VHOST_USER.SET_VRING_ADDR,
    exactly(vringAddress.size),
    0,
    (state, { payload }) => {
      const address = vringAddress.decode(payload);
      return state.vring(address.index).setAddress(address);
    },
  ),
  set(VHOST_USER.SET_VRING_BASE, STATE, 0, (state, { payload }) => {
    const { index, num } = vringState.decode(payload);
    return state.vring(index).setBase(num);
  }),
  get(VHOST_USER.GET_VRING_BASE, STATE, async (state, { payload }) => {
    const { index } = vringState.decode(payload);
    const num = await state.takeBase(index);
    return vringState.encode({ index, num });
  }),
  set(VHOST_USER.SET_VRING_KICK, U64, "vring", (state, { payload, fds }) => {
    const vring = state.vring(vringFd.decode(payload).index);
    return vring.setKick(fds.shift() ?? null);
  }),
  set(VHOST_USER.SET_VRING_CALL, U64, "vring", (state, { payload, fds }) => {
    const vring = state.vring(vringFd.decode(payload).index);
    return vring.setCall(fds.shift() ?? null);
  }),
  set(VHOST_USER.SET_VRING_ERR, U64, "vring", (state, { payload, fds }) => {
    const vring = state.vring(vringFd.decode(payload).index);
    return vring.setErr(fds.shift() ?? null);
  }),
  get(VHOST_USER.GET_PROTOCOL_FEATURES, NOTHING, (state) => {
    return u64.encode({ value: state.offeredProtocolFeatures });
  }),
  set(VHOST_USER.SET_PROTOCOL_FEATURES, U64, 0, (state, { payload }) => {
    state.setProtocolFeatures(u64.decode(payload).value);
  }),
  get(VHOST_USER.GET_QUEUE_NUM, NOTHING, (state) => {
    return u64.encode({ value: BigInt(state.backend.queueCount) });
  }, F.MQ),
  set(VHOST_USER.SET_VRING_ENABLE, STATE, 0, (state, { payload }) => {
    const { index, num } = vringState.decode(payload);
    const vring = state.vring(index);
    if (num > 1) {
      throw new ProtocolError(
        `Vring ${index} can't be enabled by ${num}: 0 or 1 is wanted`,
      );
    }
    return vring.setEnabled(num === 1);
  }),
  set(
    VHOST_USER.SEND_RARP,
    U64,
    0,
    (state, { payload }) => state.backend.announce!(payload.slice(0, 6)),
    F.RARP,
  ),
  set(
    VHOST_USER.NET_SET_MTU,
    U64,
    0,
    (state, { payload }) => setMtu(state, u64.decode(payload).value),
    F.NET_MTU,
  ),
  set(VHOST_USER.SET_BACKEND_REQ_FD, NOTHING, 1, (state, { fds }) => {
    state.setBackendChannel(fds[0]!);
    fds.shift();
  }, F.BACKEND_REQ),
  get(
    VHOST_USER.GET_CONFIG,
    {
      min: configHeader.size,
      max: configHeader.size + VHOST_USER_MAX_CONFIG_SIZE,
    },
    (state, { payload }) => readConfig(state, payload),
    F.CONFIG,
  ),
  set(
    VHOST_USER.IOTLB_MSG,
    exactly(iotlbMessage.size),
    0,
    (state, { payload }) => state.receiveIotlb(iotlbMessage.decode(payload)),
  ),
  set(
    VHOST_USER.SET_CONFIG,
    {
      min: configHeader.size + 1,
      max: configHeader.size + VHOST_USER_MAX_CONFIG_SIZE,
    },
    0,
    (state, { payload }) => writeConfig(state, payload),
    F.CONFIG,
    true,
  ),
  get(
    VHOST_USER.GET_INFLIGHT_FD,
    exactly(inflightDescription.size),
    (state, { payload }) => {
      const wanted = inflightDescription.decode(payload);
      const { description, fd } = state.createInflight(wanted);
      return { payload: inflightDescription.encode(description), fd };
    },
    F.INFLIGHT_SHMFD,
  ),
  set(
    VHOST_USER.SET_INFLIGHT_FD,
    exactly(inflightDescription.size),
    1,
    (state, { payload, fds }) => {
      state.setInflight(inflightDescription.decode(payload), fds[0]!);
    },
    F.INFLIGHT_SHMFD,
  ),
  set(
    VHOST_USER.RESET_DEVICE,
    NOTHING,
    0,
    (state) => state.resetDevice(),
    F.RESET_DEVICE,
  ),
  set(VHOST_USER.VRING_KICK, STATE, 0, (state, { payload }) => {
    const { index, num } = vringState.decode(payload);
    if (num !== 0) {
      throw new ProtocolError(
        `VRING_KICK of vring ${index} says ${num}, which is reserved: 0 is ` +
          "wanted",
      );
    }
    return state.vring(index).kick();
  }, F.INBAND_NOTIFICATIONS),
  get(VHOST_USER.GET_MAX_MEM_SLOTS, NOTHING, () => {
    return u64.encode({ value: BigInt(MAX_MEM_SLOTS) });
  }, F.CONFIGURE_MEM_SLOTS),
  set(
    VHOST_USER.ADD_MEM_REG,
    exactly(singleMemoryRegion.size),
    1,
    (state, { payload, fds }) => {
      const region = singleMemoryRegion.decode(payload);
      return state.addMemoryRegion(region, fds.shift()!);
    },
    F.CONFIGURE_MEM_SLOTS,
  ),
  // libblkio sends a descriptor along; it is closed unused, as the
  // specification wants it.
  set(
    VHOST_USER.REM_MEM_REG,
    exactly(singleMemoryRegion.size),
    "optional",
    (state, { payload }) =>
      state.removeMemoryRegion(singleMemoryRegion.decode(payload)),
    F.CONFIGURE_MEM_SLOTS,
  ),
  set(VHOST_USER.SET_STATUS, U64, 0, (state, { payload }) => {
    const { value } = u64.decode(payload);
    if (value > 0xffn) {
      throw new ProtocolError(
        `The device status 0x${value.toString(16)} does not fit its 8 bits`,
      );
    }
    return state.setStatus(Number(value));
  }, F.STATUS),
  get(VHOST_USER.GET_STATUS, NOTHING, (state) => {
    return u64.encode({ value: BigInt(state.status) });
  }, F.STATUS),
  {
    ...get(
      VHOST_USER.SET_DEVICE_STATE_FD,
      exactly(deviceStateTransfer.size),
      async (state, { payload, fds }) => {
        const wanted = deviceStateTransfer.decode(payload);
        await state.beginDeviceState(wanted, fds.shift()!);
        return u64.encode({ value: BigInt(DEVICE_STATE_NOFD_MASK) });
      },
      F.DEVICE_STATE,
      1,
    ),
    refusal: u64.encode({ value: BigInt(DEVICE_STATE_NOFD_MASK | 1) }),
  },
  {
    ...get(VHOST_USER.CHECK_DEVICE_STATE, NOTHING, async (state) => {
      await state.checkDeviceState();
      return u64.encode({ value: 0n });
    }, F.DEVICE_STATE),
    refusal: u64.encode({ value: 1n }),
  },
];

const byRequest = new Map(HANDLERS.map((row) => [row.request, row]));

/** The row of `request`, or null where it is not served. */
export function handlerOf(request: number): Handler | null {
  return byRequest.get(request) ?? null;
}

/**
 * Throws a ProtocolError unless `message` is what its row wants. A request
 * without a row is refused by its name.
 */
export function checkMessage(
  row: Handler | null,
  state: SessionState,
  message: Message,
): asserts row is Handler {
  const name = requestName(message.request);
  if (row === null) {
    throw new ProtocolError(`${name} is not served: don't send it`);
  }
  if (row.needs !== ANY_FEATURES && !state.hasProtocolFeature(row.needs)) {
    throw new ProtocolError(
      `${name} needs protocol feature ${row.needs}, which was not negotiated`,
    );
  }
  const { min, max } = row.size;
  const size = message.payload.length;
  if (size < min || size > max) {
    const wanted = min === max ? `${min}` : `${min} to ${max}`;
    throw new ProtocolError(
      `${name} came with ${size} bytes of payload, ${wanted} are wanted`,
    );
  }
  checkFds(row, name, message);
}

function checkFds(row: Handler, name: string, message: Message): void {
  const count = message.fds.length;
  const wanted = fdsWanted(row.fds, message);
  if (count === wanted) return;
  if (row.fds === "optional" && count === 1) return;
  throw new ProtocolError(
    `${name} came with ${count} descriptors, ${wanted} are wanted`,
  );
}

function fdsWanted(rule: FdRule, { payload }: Message): number {
  switch (rule) {
    case "vring":
      return vringFd.decode(payload).noFd ? 0 : 1;
    case "regions":
      return vringState.decode(payload).index;
    case "optional":
      return 0;
    default:
      return rule;
  }
}

/** NET_SET_MTU: what virtio 1.3 §5.1.4 allows. */
async function setMtu(state: SessionState, mtu: bigint): Promise<void> {
  if (mtu < 68n || mtu > 65535n) {
    throw new ProtocolError(`The MTU is ${mtu}, wanted 68 to 65535`);
  }
  await state.backend.setMtu!(Number(mtu));
}

/** GET_CONFIG: an empty payload says that the range is bad. */
function readConfig(state: SessionState, payload: Uint8Array): Uint8Array {
  const { offset, size, flags } = configHeader.decode(payload);
  // Some front-ends send room for the bytes along, some only ask.
  const body = payload.length - configHeader.size;
  if (body !== 0 && body !== size) return EMPTY;
  if (size === 0 || size > VHOST_USER_MAX_CONFIG_SIZE) return EMPTY;
  const bytes = state.backend.getConfig(offset, size);
  return bytes === null ? EMPTY : encodeConfig(offset, flags, bytes);
}

/** SET_CONFIG. Flags 1 is live migration, or "writable" of some front-ends. */
async function writeConfig(
  state: SessionState,
  payload: Uint8Array,
): Promise<void> {
  const { offset, size, flags } = configHeader.decode(payload);
  const bytes = payload.slice(configHeader.size);
  if (size !== bytes.length) {
    throw new ProtocolError(
      `SET_CONFIG names ${size} bytes and brings ${bytes.length}`,
    );
  }
  if (flags > 1) {
    throw new ProtocolError(`SET_CONFIG has flags ${flags}, wanted 0 or 1`);
  }
  await state.backend.setConfig(offset, bytes);
}

function exactly(size: number): SizeRule {
  return { min: size, max: size };
}
