/**
 * Checks notice back-ends that speak the protocol wrongly: each can fail.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { BackEndGone } from "../../src/check/mod.ts";
import { u64, vringState } from "../../src/vhost_user/message.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import type { Defect, Passing } from "./support/proxy.ts";
import {
  type MakeDefect,
  outcomesOn,
  outcomesOnEach,
  PATIENCE_MS,
  unnoticed,
} from "./support/wrong_back_end.ts";
import { wrongDisk } from "./support/wrong_disk.ts";

/** Two connections find out what the back-end is; the next ones are checks. */
const FIRST_CHECK = 3;
const NEED_REPLY = 8;
const REPLY = 5;

type ProtocolCase = readonly [
  what: string,
  makeDefect: MakeDefect,
  ids: readonly string[],
];

/** Changes the replies to `request` in checks. */
function replies(
  request: number,
  change: (message: Passing, connection: number) => Passing[] | null | void,
): MakeDefect {
  return (connection) => ({
    reply: (message) =>
      connection >= FIRST_CHECK && message.request === request
        ? change(message, connection) ?? undefined
        : undefined,
  });
}

/** Changes `request` in checks, before the back-end sees it. */
function requests(
  request: number,
  change: (message: Passing, count: number) => Passing | null | void,
): MakeDefect {
  return (connection) => {
    let count = 0;
    return {
      request: (message) =>
        connection >= FIRST_CHECK && message.request === request
          ? change(message, ++count)
          : undefined,
    };
  };
}

/** The acknowledgement `value` of `message`, which nobody else sees. */
function acknowledged({ request, flags }: Passing, value = 0n): Passing | null {
  if ((flags & NEED_REPLY) === 0) return null;
  return { request, flags: REPLY, payload: u64.encode({ value }), fds: [] };
}

/** Another number in place of the 64 bits of a message. */
function number(change: (value: bigint) => bigint): (m: Passing) => void {
  return (message) => {
    const { value } = u64.decode(message.payload);
    message.payload = u64.encode({ value: change(value) });
  };
}

/** Another `num` in a message of a vring. */
function num(change: (value: number) => number): (m: Passing) => void {
  return (message) => {
    const state = vringState.decode(message.payload);
    message.payload = vringState.encode({ ...state, num: change(state.num) });
  };
}

const R = VHOST_USER;
const without = (bit: number) => (value: bigint) =>
  value & ~(1n << BigInt(bit));
const withBit = (bit: number) => (value: bigint) => value | 1n << BigInt(bit);
const state = (name: string) => `ring-state/${name}`;
const notice = (name: string) => `notification/${name}`;

/** From the first connection on: what is offered. */
const offering =
  (request: number, change: (value: bigint) => bigint) => (): Defect => ({
    reply: (message) => {
      if (message.request === request) number(change)(message);
    },
  });

const CASES: readonly ProtocolCase[] = [
  [
    "offers other features to each front-end",
    replies(R.GET_FEATURES, (message, connection) => {
      number((value) => value ^ BigInt(connection % 2) << 24n)(message);
    }),
    ["negotiation/stable"],
  ],
  ["offers no VERSION_1", offering(R.GET_FEATURES, without(32)), [
    "negotiation/version-1",
  ]],
  ["offers no REPLY_ACK", offering(R.GET_PROTOCOL_FEATURES, without(3)), [
    "negotiation/reply-ack",
  ]],
  [
    "offers HOST_NOTIFIER without BACKEND_REQ",
    offering(
      R.GET_PROTOCOL_FEATURES,
      (value) => without(5)(withBit(11)(value)),
    ),
    ["negotiation/protocol-consistent"],
  ],
  ["has no queues", replies(R.GET_QUEUE_NUM, number(() => 0n)), [
    "negotiation/queue-num",
  ]],
  [
    "refuses a front-end that takes little",
    requests(R.SET_FEATURES, (message) => {
      const { value } = u64.decode(message.payload);
      return (value >> 29n & 1n) === 0n ? acknowledged(message, 1n) : undefined;
    }),
    ["negotiation/few", "negotiation/ring-features"],
  ],
  [
    "takes features once",
    requests(
      R.SET_FEATURES,
      (message, count) => count > 1 ? acknowledged(message, 1n) : undefined,
    ),
    ["negotiation/twice"],
  ],
  [
    "takes any feature",
    requests(R.SET_FEATURES, (message) => {
      const { value } = u64.decode(message.payload);
      return value >> 48n === 0n ? undefined : acknowledged(message);
    }),
    ["negotiation/unoffered-feature"],
  ],
  [
    "takes any protocol feature",
    requests(R.SET_PROTOCOL_FEATURES, (message) => {
      const { value } = u64.decode(message.payload);
      return value >> 63n === 0n ? undefined : acknowledged(message);
    }),
    ["negotiation/unoffered-protocol-feature"],
  ],
  [
    "does not mark its replies",
    replies(R.GET_FEATURES, (message) => void (message.flags = 1)),
    ["reply/header", "reply/in-order"],
  ],
  [
    "repeats NEED_REPLY",
    replies(R.SET_OWNER, (message) => void (message.flags |= NEED_REPLY)),
    ["reply/flags-clean"],
  ],
  [
    "acknowledges before that was agreed on, and unasked",
    requests(R.SET_OWNER, (message) => {
      message.flags |= NEED_REPLY;
      return acknowledged(message);
    }),
    ["reply/not-negotiated", "reply/not-asked"],
  ],
  [
    "answers twice",
    replies(R.GET_PROTOCOL_FEATURES, (message) => [message, message]),
    ["reply/only-one"],
  ],
  ["keeps an answer back", replies(R.SET_VRING_NUM, () => []), [
    "reply-ack/set-vring-num",
  ]],
  ["says that it failed", replies(R.SET_OWNER, number(() => 1n)), [
    "reply-ack/set-owner",
  ]],
  [
    "acknowledges what it does not know",
    requests(2000, (message) => acknowledged(message)),
    ["reply/unknown-request"],
  ],
  [
    "tells another config space to the next front-end",
    replies(R.GET_CONFIG, (message) => void (message.payload[12]! ^= 1)),
    ["config/stable", "config/before-features"],
  ],
  [
    "tells the config space from its beginning only",
    requests(R.GET_CONFIG, (message) => void message.payload.fill(0, 0, 4)),
    ["config/in-parts"],
  ],
  ["starts every ring at 0", requests(R.SET_VRING_BASE, num(() => 0)), [
    ...["ring/base", "ring/base-wraps", "ring/base-unused", "ring/restart"],
  ]],
  [
    "tells a base that is ahead",
    replies(R.GET_VRING_BASE, num((base) => base + 1)),
    ["ring/base-told", "ring/stop-drains"],
  ],
  [
    "does not stop a ring",
    requests(R.GET_VRING_BASE, ({ request, payload }) => ({
      request,
      flags: REPLY,
      payload,
      fds: [],
    })),
    [state("stopped-rests"), "ring/base-told"],
  ],
  [
    "never disables a ring",
    requests(R.SET_VRING_ENABLE, (message) => {
      const { num } = vringState.decode(message.payload);
      return num === 0 ? acknowledged(message) : undefined;
    }),
    [state("disabled-rests"), "block-write/disabled"],
  ],
  [
    "never enables a ring",
    requests(R.SET_VRING_ENABLE, (message) => acknowledged(message)),
    ["ring/one-request", state("kick-not-lost"), state("enable-first")],
  ],
  [
    "starts rings enabled always",
    requests(R.SET_FEATURES, number(without(30))),
    [state("starts-disabled")],
  ],
  [
    "starts rings disabled always",
    requests(R.SET_FEATURES, number(withBit(30))),
    [state("starts-enabled")],
  ],
  [
    "loses the descriptor to call",
    requests(R.SET_VRING_CALL, (message) => {
      number(withBit(8))(message);
      for (const fd of message.fds.splice(0)) fd.close();
    }),
    [
      ...["call", "event-call", "event-call-within", "event-call-wraps"],
      ...["no-interrupt-lifted", "used-event-ignored", "event-flags-ignored"],
    ].map(notice).concat(state("call-replaced")),
  ],
  [
    "keeps the first descriptor to call",
    requests(
      R.SET_VRING_CALL,
      (message, count) => count > 1 ? acknowledged(message) : undefined,
    ),
    [state("call-replaced")],
  ],
  [
    "loses the descriptor to be kicked by",
    requests(R.SET_VRING_KICK, (message) => acknowledged(message)),
    ["ring/one-request", state("kicked-before"), state("polled")],
  ],
  [
    "has event indexes that were not agreed on",
    requests(R.SET_FEATURES, number(withBit(29))),
    [notice("used-event-ignored"), notice("no-interrupt")],
  ],
  [
    "has no event indexes that were agreed on",
    requests(R.SET_FEATURES, number(without(29))),
    [notice("event-quiet"), notice("event-flags-ignored")],
  ],
  [
    "has no indirect tables that were agreed on",
    requests(R.SET_FEATURES, number(without(28))),
    ["indirect", "indirect-after-direct", "indirect-write-flag"]
      .map((name) => `chain/${name}`),
  ],
  [
    "takes the first region only",
    requests(R.SET_MEM_TABLE, (message) => {
      message.payload = message.payload.slice(0, 40);
      message.payload[0] = 1;
      for (const fd of message.fds.splice(1)) fd.close();
    }),
    ["eight-regions", "any-order", "border", "rings-apart"]
      .map((name) => `memory/${name}`),
  ],
  [
    "maps files from their beginning",
    requests(R.SET_MEM_TABLE, ({ payload }) => {
      for (let at = 32; at < payload.length; at += 32) {
        payload.fill(0, at, at + 8);
      }
    }),
    ["memory/mmap-offset"],
  ],
  [
    "keeps its first table",
    requests(
      R.SET_MEM_TABLE,
      (message, count) => count > 1 ? acknowledged(message) : undefined,
    ),
    ["memory/replaced-running"],
  ],
  ["adds no region", requests(R.ADD_MEM_REG, (m) => acknowledged(m)), [
    ...["slots/add", "slots/add-running", "slots/many", "slots/remove"],
  ]],
  ["has one slot", replies(R.GET_MAX_MEM_SLOTS, number(() => 1n)), [
    "slots/count",
  ]],
  ["resets nothing", requests(R.RESET_DEVICE, (m) => acknowledged(m)), [
    "reset/reset-rests",
  ]],
  ["forgets its status", requests(R.SET_STATUS, (m) => acknowledged(m)), [
    "reset/status",
  ]],
];

for (const [what, makeDefect, ids] of CASES) {
  Deno.test(`a back-end that ${what} is noticed`, async () => {
    const outcomes = await outcomesOnEach(
      () => wrongDisk({}),
      "block",
      ids,
      makeDefect,
    );
    assertEquals(outcomes.length, ids.length);
    assertEquals(unnoticed(outcomes), []);
  });
}

Deno.test("a back-end behind a proxy without a defect passes", async () => {
  const slow = [state("polled")];
  const ids = [...new Set(CASES.flatMap(([, , ids]) => ids))]
    .filter((id) => !slow.includes(id));
  const outcomes = await outcomesOn(
    wrongDisk({}),
    "block",
    ids,
    () => ({}),
    PATIENCE_MS,
  );
  assertEquals(outcomes.filter(({ status }) => status !== "pass"), []);
});

/** Back-ends that take less than others, and are right: these checks pass. */
const STRICT: readonly ProtocolCase[] = [
  [
    "takes one owner a session",
    requests(
      R.SET_OWNER,
      (message, count) => count > 1 ? acknowledged(message, 1n) : undefined,
    ),
    [
      ...["negotiation/twice", "isolation/restart"],
      ...["reset/reset-device", "reset/status-zero"],
    ],
  ],
  [
    "acknowledges nothing",
    offering(R.GET_PROTOCOL_FEATURES, without(3)),
    ["ring/one-request", "ring/restart", state("call-replaced")],
  ],
];

for (const [what, makeDefect, ids] of STRICT) {
  Deno.test(`a back-end that ${what} passes`, async () => {
    const disk = wrongDisk({});
    const outcomes = await outcomesOn(
      disk,
      "block",
      ids,
      makeDefect,
      PATIENCE_MS,
    );
    assertEquals(outcomes.filter(({ status }) => status !== "pass"), []);
  });
}

/** Ends the back-end when it is asked for a ring that it does not have. */
const mortal: MakeDefect = (_, dies) => ({
  request: ({ request, payload }) => {
    if (request !== R.SET_VRING_NUM) return;
    if (vringState.decode(payload).index > 100) dies();
  },
});

Deno.test("a back-end that dies of a request ends the run", async () => {
  const ids = ["ring/one-request", "hostile/ring-beyond", "ring/full"];
  const error = await assertRejects(
    () => outcomesOn(wrongDisk({}), "block", ids, mortal),
    BackEndGone,
  );
  assertEquals(
    error.message,
    "The back-end is gone since hostile/ring-beyond: start it again, and " +
      "check the rest by name (--only)",
  );
});

Deno.test("a back-end that serves nobody after harm is noticed", async () => {
  const ids = ["hostile/loop", "hostile/garbage", "reconnect/silent"];
  const outcomes = await outcomesOnEach(
    () => wrongDisk({}),
    "block",
    ids,
    (connection) =>
      connection <= FIRST_CHECK ? {} : {
        request: (message) => message.request === 1 ? null : undefined,
      },
  );
  assertEquals(unnoticed(outcomes), []);
});
