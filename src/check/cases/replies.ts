/**
 * Checks of answers: to what, and how.
 *
 * @module
 */
import { VHOST_USER_F_PROTOCOL_FEATURES } from "../../device/features.ts";
import type { Frontend } from "../../vhost_user/frontend.ts";
import {
  u64,
  vringAddress,
  vringFd,
  vringState,
} from "../../vhost_user/message.ts";
import {
  requestName,
  VHOST_USER,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "../../vhost_user/protocol.ts";
import { encodeMessage } from "../../vhost_user/message.ts";
import type { Check } from "../check.ts";
import { expect, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";

const ACK = "vhost-user, REPLY_ACK";
const HEADER = "vhost-user, Header";
const REPLY = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
const NEED_REPLY = VHOST_USER_NEED_REPLY_MASK;
const U64_SIZE = 8;
/** No request has such a number. */
const UNKNOWN_REQUEST = 2000;

/** The next message, which must be a reply to `request`: its payload. */
async function replyTo(
  frontend: Frontend,
  request: number,
): Promise<Uint8Array> {
  const name = requestName(request);
  const reply = await frontend.receive();
  expect(reply !== null, `The back-end hung up instead of answering ${name}`);
  for (const fd of reply.fds) fd.close();
  expectEqual(requestName(reply.request), name, `The request of the reply`);
  expectEqual(
    reply.flags & ~NEED_REPLY,
    REPLY,
    `The flags of the reply to ${name}`,
  );
  return reply.payload;
}

/** Sends GET_FEATURES; the very next message must be its reply. */
async function nothingBefore(frontend: Frontend, what: string): Promise<void> {
  await frontend.send(VHOST_USER.GET_FEATURES);
  const reply = await frontend.receive();
  expect(reply !== null, `The back-end hung up after ${what}`);
  for (const fd of reply.fds) fd.close();
  const name = requestName(reply.request);
  expect(
    reply.request === VHOST_USER.GET_FEATURES,
    `${what} was answered by ${name}, wanted no answer`,
  );
}

/** A request that has no reply of its own. */
interface Acked {
  readonly request: number;
  payload(guest: Guest): Uint8Array;
  fds?(guest: Guest): readonly number[];
}

const state = (index: number, num: number) => vringState.encode({ index, num });
const fdOf = () => vringFd.encode({ index: 0n, noFd: false });

const ACKED: readonly Acked[] = [
  { request: VHOST_USER.SET_OWNER, payload: () => new Uint8Array(0) },
  {
    request: VHOST_USER.SET_FEATURES,
    payload: ({ features }) => u64.encode({ value: features }),
  },
  {
    request: VHOST_USER.SET_VRING_NUM,
    payload: ({ rings }) => state(0, rings[0]!.driver.size),
  },
  { request: VHOST_USER.SET_VRING_BASE, payload: () => state(0, 0) },
  {
    request: VHOST_USER.SET_VRING_ADDR,
    payload: ({ rings }) => vringAddress.encode(rings[0]!.addresses),
  },
  {
    request: VHOST_USER.SET_VRING_CALL,
    payload: fdOf,
    fds: ({ rings }) => [rings[0]!.callFd.fd.number],
  },
  {
    request: VHOST_USER.SET_VRING_ERR,
    payload: fdOf,
    fds: ({ rings }) => [rings[0]!.errFd.fd.number],
  },
  {
    request: VHOST_USER.SET_VRING_KICK,
    payload: fdOf,
    fds: ({ rings }) => [rings[0]!.kickFd.fd.number],
  },
  { request: VHOST_USER.SET_VRING_ENABLE, payload: () => state(0, 1) },
];

/** Each request in turn, in an order that makes sense, with NEED_REPLY. */
async function acknowledges(run: CheckRun, wanted: number): Promise<void> {
  run.needsProtocol(VHOST_USER_PROTOCOL_F.REPLY_ACK, "REPLY_ACK");
  const guest = await run.guest({ start: false });
  const { frontend } = guest;
  for (const { request, payload, fds } of ACKED) {
    run.step = requestName(request);
    const asks = request === wanted;
    const flags = asks ? NEED_REPLY : 0;
    await frontend.send(request, payload(guest), fds?.(guest) ?? [], flags);
    if (!asks) continue;
    const reply = await replyTo(frontend, request);
    expectEqual(reply.length, U64_SIZE, "The size of the acknowledgement");
    expectEqual(u64.decode(reply).value, 0n, "The acknowledgement");
  }
  await nothingBefore(frontend, "what asked for no answer");
}

const ACK_CHECKS: readonly Check[] = ACKED.map(({ request }) => ({
  id: `reply-ack/${requestName(request).toLowerCase().replaceAll("_", "-")}`,
  title: `${requestName(request)} is acknowledged where that is asked for`,
  section: ACK,
  level: "MUST",
  run: (run) => acknowledges(run, request),
}));

export const REPLY_CHECKS: readonly Check[] = [
  {
    id: "reply/header",
    title: "a reply has the request, version 1, REPLY and the right size",
    section: HEADER,
    level: "MUST",
    run: async (run) => {
      const frontend = await run.connect();
      await frontend.send(VHOST_USER.GET_FEATURES);
      const payload = await replyTo(frontend, VHOST_USER.GET_FEATURES);
      expectEqual(payload.length, U64_SIZE, "The size of the reply");
    },
  },
  {
    id: "reply/flags-clean",
    title: "a reply does not repeat NEED_REPLY, on which QEMU and DPDK stumble",
    section: HEADER,
    level: "SHOULD",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.REPLY_ACK, "REPLY_ACK");
      const frontend = await run.connect();
      await frontend.negotiate();
      await frontend.send(
        VHOST_USER.SET_OWNER,
        new Uint8Array(0),
        [],
        NEED_REPLY,
      );
      const reply = await frontend.receive();
      expectEqual(reply?.flags ?? -1, REPLY, "The flags of an acknowledgement");
    },
  },
  {
    id: "reply/not-negotiated",
    title: "NEED_REPLY means nothing before REPLY_ACK was negotiated",
    section: ACK,
    level: "SHOULD",
    run: async (run) => {
      const frontend = await run.connect();
      await frontend.send(
        VHOST_USER.SET_OWNER,
        new Uint8Array(0),
        [],
        NEED_REPLY,
      );
      await nothingBefore(frontend, "SET_OWNER");
    },
  },
  {
    id: "reply/not-asked",
    title: "a request that does not ask for an acknowledgement gets none",
    section: ACK,
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.REPLY_ACK, "REPLY_ACK");
      const frontend = await run.connect();
      await frontend.negotiate();
      await frontend.send(VHOST_USER.SET_OWNER);
      await nothingBefore(frontend, "SET_OWNER");
    },
  },
  {
    id: "reply/only-one",
    title: "a request with a reply of its own gets that only",
    section: ACK,
    level: "MUST",
    run: async (run) => {
      run.needs(VHOST_USER_F_PROTOCOL_FEATURES, "PROTOCOL_FEATURES");
      const frontend = await run.connect();
      await frontend.negotiate();
      const request = VHOST_USER.GET_PROTOCOL_FEATURES;
      await frontend.send(request, new Uint8Array(0), [], NEED_REPLY);
      await replyTo(frontend, request);
      await nothingBefore(frontend, "GET_PROTOCOL_FEATURES");
    },
  },
  ...ACK_CHECKS,
  {
    id: "reply/unknown-request",
    title: "a request that is unknown is refused, or ends the session",
    section: ACK,
    level: "SHOULD",
    hostile: true,
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.REPLY_ACK, "REPLY_ACK");
      const frontend = await run.connect();
      await frontend.negotiate();
      await frontend.send(UNKNOWN_REQUEST, new Uint8Array(8), [], NEED_REPLY);
      const reply = await received(frontend);
      if (reply === null) return;
      expectEqual(reply.request, UNKNOWN_REQUEST, "The request of the reply");
      const { value } = u64.decode(reply.payload);
      expect(value !== 0n, "An unknown request was acknowledged as done");
    },
  },
  {
    id: "reply/in-order",
    title: "requests that are sent in one piece are answered in their order",
    section: "vhost-user, Communication",
    level: "MUST",
    run: async (run) => {
      run.needs(VHOST_USER_F_PROTOCOL_FEATURES, "PROTOCOL_FEATURES");
      const frontend = await run.connect();
      const requests = [
        VHOST_USER.GET_FEATURES,
        VHOST_USER.GET_PROTOCOL_FEATURES,
        VHOST_USER.GET_FEATURES,
      ];
      const parts = requests.map((request) =>
        encodeMessage(request, VHOST_USER_VERSION, new Uint8Array(0))
      );
      await frontend.sendRaw(
        Uint8Array.from(parts.flatMap((part) => [...part])),
      );
      for (const request of requests) await replyTo(frontend, request);
    },
  },
  {
    id: "reply/byte-by-byte",
    title: "a message that comes byte by byte is put together",
    section: "vhost-user, Communication",
    level: "SHOULD",
    run: byteByByte,
  },
];

async function byteByByte(run: CheckRun): Promise<void> {
  const guest = await run.guest({ start: false });
  const { frontend } = guest;
  const bytes = encodeMessage(
    VHOST_USER.SET_VRING_NUM,
    VHOST_USER_VERSION,
    vringState.encode({ index: 0, num: 64 }),
  );
  for (let at = 0; at < bytes.length; at++) {
    await frontend.sendRaw(bytes.slice(at, at + 1));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await nothingBefore(frontend, "SET_VRING_NUM");
  for (const ring of guest.rings) await ring.start();
  await guest.works();
}

/** The next message, or null where the back-end hung up. */
async function received(
  frontend: Frontend,
): Promise<{ request: number; payload: Uint8Array } | null> {
  try {
    return await frontend.receive();
  } catch {
    return null;
  }
}
