/** Features, ownership, acknowledgements and status. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { NackError } from "../../src/vhost_user/frontend.ts";
import { HANDLERS } from "../../src/vhost_user/handlers.ts";
import { u64 } from "../../src/vhost_user/message.ts";
import {
  protocolBit,
  protocolBits,
  requestName,
  VHOST_USER,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import {
  number64,
  RING_FEATURES,
  stageTest,
  VERSION_1,
  VHOST_F_LOG_ALL,
} from "./harness.ts";

const REPLY_ACK = protocolBit(VHOST_USER_PROTOCOL_F.REPLY_ACK);
const NEED_REPLY = VHOST_USER_NEED_REPLY_MASK;

stageTest("the offered features are those that are served", async (stage) => {
  const { frontend } = stage;
  assertEquals(
    await frontend.getFeatures(),
    VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL,
  );
  const offered = protocolBits([0, 1, 3, 5, 9, 10, 13, 15, 16]);
  assertEquals(await frontend.getProtocolFeatures(), offered);
  const { queueCount } = await frontend.negotiate();
  assertEquals(queueCount, 4);
  assertEquals(await frontend.getMaxMemSlots(), 509);
  assertEquals(stage.backend.calls, ["setFeatures 0x100000000"]);
});

stageTest("[C54] SET_OWNER twice is tolerated", async (stage) => {
  await stage.frontend.negotiate();
  await stage.frontend.setOwner();
  await stage.frontend.setOwner();
});

stageTest("[C54] features that were not offered are refused", async (stage) => {
  const { frontend } = stage;
  await frontend.negotiate();
  const accepted = await frontend.getFeatures() | RING_FEATURES;
  for (let bit = 0n; bit < 64n; bit++) {
    if ((accepted & (1n << bit)) !== 0n) continue;
    await stage.refused(frontend.setFeatures(VERSION_1 | (1n << bit)));
  }
  for (const bit of [2n, 17n, 24n, 63n]) {
    await stage.refused(frontend.setProtocolFeatures(1n << bit));
  }
  assertEquals(stage.backend.calls, ["setFeatures 0x100000000"]);
});

stageTest(
  "[C54] a message is refused without the protocol feature it needs",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate({ protocolFeatures: REPLY_ACK });
    const gated = HANDLERS.filter((row) => row.needs >= 0);
    assertEquals(gated.map((row) => requestName(row.request)), [
      "SET_LOG_BASE",
      "SET_LOG_FD",
      "GET_QUEUE_NUM",
      "SEND_RARP",
      "NET_SET_MTU",
      "SET_BACKEND_REQ_FD",
      "GET_CONFIG",
      "SET_CONFIG",
      "GET_INFLIGHT_FD",
      "SET_INFLIGHT_FD",
      "RESET_DEVICE",
      "VRING_KICK",
      "GET_MAX_MEM_SLOTS",
      "ADD_MEM_REG",
      "REM_MEM_REG",
      "SET_STATUS",
      "GET_STATUS",
      "SET_DEVICE_STATE_FD",
      "CHECK_DEVICE_STATE",
    ]);
    for (const { request, size } of gated) {
      await stage.refused(frontend.command(request, new Uint8Array(size.min)));
    }
  },
);

stageTest(
  "[C54] a feature that was not offered ends a session without REPLY_ACK",
  async (stage) => {
    await stage.frontend.setProtocolFeatures(1n << 12n);
    assertStringIncludes(await stage.broken(), "0x1000 were not offered");
  },
);

stageTest(
  "the guest may negotiate INDIRECT_DESC and EVENT_IDX without an offer",
  async ({ frontend, backend }) => {
    await frontend.negotiate();
    await frontend.setFeatures(VERSION_1 | RING_FEATURES);
    assertEquals(backend.calls.at(-1), "setFeatures 0x130000000");
  },
);

stageTest(
  "[C55] NEED_REPLY before REPLY_ACK was negotiated is not acknowledged",
  async (stage) => {
    const { frontend } = stage;
    const { SET_OWNER } = VHOST_USER;
    await frontend.send(SET_OWNER, new Uint8Array(0), [], NEED_REPLY);
    // The next reply belongs to the next request: there was none in between.
    await stage.alive();
  },
);

stageTest(
  "[C55] SET_PROTOCOL_FEATURES that brings REPLY_ACK is itself acknowledged",
  async ({ frontend }) => {
    const { SET_PROTOCOL_FEATURES } = VHOST_USER;
    const payload = number64(REPLY_ACK);
    await frontend.send(SET_PROTOCOL_FEATURES, payload, [], NEED_REPLY);
    const ack = (await frontend.receive())!;
    assertEquals(ack.request, SET_PROTOCOL_FEATURES);
    assertEquals(ack.flags, 0x5);
    assertEquals(u64.decode(ack.payload).value, 0n);
  },
);

stageTest(
  "[C55] SET_PROTOCOL_FEATURES that takes REPLY_ACK away is the last one that is acknowledged",
  async (stage) => {
    const { frontend } = stage;
    await frontend.setProtocolFeatures(REPLY_ACK);
    await frontend.setProtocolFeatures(0n);
    await frontend.send(VHOST_USER.SET_OWNER, undefined, [], NEED_REPLY);
    await stage.alive();
  },
);

stageTest(
  "[C55] with REPLY_ACK exactly the messages that ask are acknowledged",
  async (stage) => {
    const { frontend } = stage;
    await frontend.setProtocolFeatures(REPLY_ACK);
    const nothing = new Uint8Array(0);
    await frontend.send(VHOST_USER.SET_OWNER, nothing);
    await stage.alive();
    await frontend.send(VHOST_USER.SET_OWNER, nothing, [], NEED_REPLY);
    const ack = (await frontend.receive())!;
    assertEquals([ack.request, ack.flags], [VHOST_USER.SET_OWNER, 0x5]);
    assertEquals(ack.payload, number64(0n) as typeof ack.payload);
    const nack = await assertRejects(
      () => frontend.setVringNum(0, 3),
      NackError,
    );
    assertEquals(nack.request, VHOST_USER.SET_VRING_NUM);
    await stage.alive();
  },
);

stageTest(
  "[C55] a failure that nobody asked about ends the session",
  async (stage) => {
    await stage.frontend.negotiate();
    const payload = new Uint8Array(8);
    await stage.frontend.send(VHOST_USER.SET_VRING_NUM, payload);
    assertStringIncludes(await stage.broken(), "Vring 0 can't have 0 entries");
  },
);

stageTest(
  "[C55] a request with a reply of its own gets only that one",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const nothing = new Uint8Array(0);
    for (const flags of [0, NEED_REPLY]) {
      await frontend.send(VHOST_USER.GET_QUEUE_NUM, nothing, [], flags);
      const reply = (await frontend.receive())!;
      assertEquals(reply.flags, 0x5);
      assertEquals(u64.decode(reply.payload).value, 4n);
      await stage.alive();
    }
  },
);

stageTest(
  "[C55] what the back-end fails is refused, and can be tried again",
  async (stage) => {
    const { frontend, backend } = stage;
    await frontend.negotiate();
    backend.failing.add("setFeatures");
    await stage.refused(frontend.setFeatures(VERSION_1 | RING_FEATURES));
    backend.failing.clear();
    await frontend.setFeatures(VERSION_1 | RING_FEATURES);
    assertEquals(backend.calls.slice(-2), [
      "setFeatures 0x130000000",
      "setFeatures 0x130000000",
    ]);
  },
);

stageTest(
  "[H15] SET_FEATURES on running rings: the same again, the log, no more",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const features = VERSION_1 | VHOST_F_LOG_ALL |
      VHOST_USER_F_PROTOCOL_FEATURES;
    await frontend.setFeatures(features);
    await frontend.setFeatures(features & ~VHOST_F_LOG_ALL);
    await stage.refused(frontend.setFeatures(features | RING_FEATURES));
    await stage.refused(frontend.setFeatures(VHOST_USER_F_PROTOCOL_FEATURES));
    assertEquals(backend.rings.get(0)!.enabled, true);
    await frontend.getVringBase(0);
    await frontend.setFeatures(features | RING_FEATURES);
  },
);

stageTest(
  "SET_FEATURES with bit 30 leaves rings as they are, without enables all",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    await frontend.setVringEnable(0, false);
    const features = VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
    await frontend.setFeatures(features);
    assertEquals(backend.rings.get(0)!.enabled, false);
    await frontend.setFeatures(VERSION_1);
    assertEquals(backend.rings.get(0)!.enabled, true);
    await frontend.setFeatures(features);
    assertEquals(backend.rings.get(0)!.enabled, true);
  },
);

stageTest("the status is kept, and 0 is a reset", async (stage) => {
  const { frontend, backend } = stage;
  await stage.ready();
  await stage.startRing(0);
  assertEquals(await frontend.getStatus(), 0);
  await frontend.setStatus(0x0f);
  assertEquals(await frontend.getStatus(), 0x0f);
  const tooLarge = frontend.command(VHOST_USER.SET_STATUS, number64(0x100n));
  await stage.refused(tooLarge);
  assertEquals(await frontend.getStatus(), 0x0f);
  await frontend.setStatus(0);
  assertEquals(backend.calls.slice(-2), ["stopVring 0", "reset"]);
  // Without features FEATURES_OK does not stay, which the driver reads back.
  await frontend.setStatus(0x0b);
  assertEquals(await frontend.getStatus(), 0x03);
});
