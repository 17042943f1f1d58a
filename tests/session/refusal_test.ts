/**
 * What is known by name and not served: each request of it is refused, and
 * costs nothing but that.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  header,
  memoryRegion,
  SHARED_OBJECT_SIZE,
  u64,
  vringState,
} from "../../src/vhost_user/message.ts";
import {
  protocolBit,
  VHOST_USER,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { fullAddress, openFds, type Stage, stageTest } from "./harness.ts";

const NOTHING = new Uint8Array(0);
const REPLY_ACK = protocolBit(VHOST_USER_PROTOCOL_F.REPLY_ACK);

/** A request as a front-end in use would send it. */
interface Refused {
  readonly name: keyof typeof VHOST_USER;
  readonly payload: Uint8Array;
  /** Descriptors that come along. */
  readonly fds?: number;
}

const REFUSED: readonly Refused[] = [
  {
    name: "SET_VRING_ENDIAN",
    payload: vringState.encode({ index: 0, num: 0 }),
  },
  { name: "CREATE_CRYPTO_SESSION", payload: new Uint8Array(1024) },
  { name: "CLOSE_CRYPTO_SESSION", payload: u64.encode({ value: 1n }) },
  { name: "POSTCOPY_ADVISE", payload: NOTHING },
  { name: "POSTCOPY_LISTEN", payload: NOTHING },
  { name: "POSTCOPY_END", payload: NOTHING },
  { name: "GPU_SET_SOCKET", payload: NOTHING, fds: 1 },
  { name: "GET_SHARED_OBJECT", payload: new Uint8Array(SHARED_OBJECT_SIZE) },
  { name: "GET_SHMEM_CONFIG", payload: NOTHING },
];

/** A session with a ring that runs. */
async function running(stage: Stage): Promise<void> {
  await stage.ready();
  await stage.startRing(0);
}

/** The ring of `running` runs on as if nothing had been. */
async function runsOn(stage: Stage): Promise<void> {
  await stage.alive();
  assertEquals([...stage.backend.rings.keys()], [0]);
  assertEquals(stage.backend.calls.filter((call) => /stop/.test(call)), []);
  assertEquals(await stage.frontend.getVringBase(0), 0);
}

for (const { name, payload, fds = 0 } of REFUSED) {
  const request = VHOST_USER[name];

  stageTest(`${name} is refused, and the session lives on`, async (stage) => {
    const { frontend } = stage;
    await running(stage);
    const sent = Array.from({ length: fds }, () => stage.eventFd());
    const before = openFds();
    await frontend.send(request, payload, sent, VHOST_USER_NEED_REPLY_MASK);
    const reply = (await frontend.receive())!;
    assertEquals([reply.request, reply.flags], [request, 0x5]);
    assertEquals(u64.decode(reply.payload).value, 1n);
    assertEquals(reply.fds, []);
    assertEquals(openFds(), before, "what came along is closed");
    await runsOn(stage);
  });

  stageTest(`${name} without REPLY_ACK ends the session`, async (stage) => {
    await stage.frontend.send(
      request,
      payload,
      Array.from({ length: fds }, () => stage.eventFd()),
      VHOST_USER_NEED_REPLY_MASK,
    );
    assertStringIncludes(await stage.broken(), `${name} is not served`);
  });
}

stageTest("SET_VRING_ENDIAN is refused for either order", async (stage) => {
  await running(stage);
  for (const order of ["little", "big"] as const) {
    await stage.refused(stage.frontend.setVringEndian(0, order));
  }
  await runsOn(stage);
});

stageTest("requests that nobody has named are refused", async (stage) => {
  const { frontend } = stage;
  await running(stage);
  const last = Math.max(...Object.values(VHOST_USER));
  for (const request of [0, last + 1, 1000, 0x8000_0000, 0xffff_ffff]) {
    for (const size of [0, 8, 4096]) {
      await stage.refused(
        frontend.command(request, new Uint8Array(size), [stage.eventFd()]),
      );
    }
  }
  await runsOn(stage);
});

stageTest(
  "protocol features that are not offered are refused",
  async (stage) => {
    const { frontend } = stage;
    await frontend.setProtocolFeatures(REPLY_ACK);
    const offered = await frontend.getProtocolFeatures();
    let refused = 0;
    for (let bit = 0; bit < 64; bit++) {
      if ((offered & protocolBit(bit)) !== 0n) continue;
      refused++;
      const features = REPLY_ACK | protocolBit(bit);
      await stage.refused(frontend.setProtocolFeatures(features));
    }
    assertEquals(refused, 64 - offered.toString(2).replaceAll("0", "").length);
  },
);

/** Bytes that XEN_MMAP adds to a region: flags and domain. */
const XEN_SIZE = 8;

stageTest(
  "[C50] XEN_MMAP: regions with its fields are refused",
  async (stage) => {
    const { frontend } = stage;
    await running(stage);
    const offered = await frontend.getProtocolFeatures();
    const { XEN_MMAP } = VHOST_USER_PROTOCOL_F;
    assertEquals(offered & protocolBit(XEN_MMAP), 0n);
    const size = memoryRegion.size + XEN_SIZE;
    // 4 with its fields have the size of 5 without.
    for (const count of [1, 2, 4, 8]) {
      const payload = new Uint8Array(8 + count * size);
      new DataView(payload.buffer).setUint32(0, count, true);
      const fds = Array.from({ length: count }, () => stage.memfd());
      await stage.refused(
        frontend.command(VHOST_USER.SET_MEM_TABLE, payload, fds),
      );
    }
    const one = new Uint8Array(8 + size);
    const { ADD_MEM_REG, REM_MEM_REG } = VHOST_USER;
    await stage.refused(frontend.command(ADD_MEM_REG, one, [stage.memfd()]));
    await stage.refused(frontend.command(REM_MEM_REG, one));
    assertEquals(stage.mappings(), 1, "the memory is the one from before");
    await runsOn(stage);
  },
);

stageTest(
  "[H19] a refusal in the middle of a set-up does not disturb it",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const steps = [
      () => frontend.setVringNum(0, 256),
      () => frontend.setVringBase(0, 9),
      () => frontend.setVringAddr(fullAddress(0)),
      () => frontend.setVringKick(0, stage.eventFd()),
      () => frontend.setVringEnable(0, true),
    ];
    for (const step of steps) {
      for (const { name, payload } of REFUSED) {
        await stage.refused(frontend.command(VHOST_USER[name], payload));
      }
      await step();
    }
    const { start, enabled } = backend.rings.get(0)!;
    assertEquals([start.base, start.size, enabled], [9, 256, true]);
  },
);

stageTest("a header that is no request's is not looked into", async (stage) => {
  await stage.frontend.setProtocolFeatures(REPLY_ACK);
  const request = VHOST_USER.POSTCOPY_ADVISE;
  const bytes = header.encode({ request, flags: 0x9, size: 4097 });
  await stage.frontend.sendRaw(bytes);
  assertStringIncludes(await stage.broken(), "claims 4097 bytes");
});
