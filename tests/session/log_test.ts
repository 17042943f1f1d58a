/** The log of dirty pages: where it is, and when it is on. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { EventFd } from "../../src/io/event_fd.ts";
import { logDescription } from "../../src/vhost_user/message.ts";
import {
  protocolBits,
  VHOST_USER,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import {
  fullAddress,
  GUEST_ADDRESS,
  MEMORY_SIZE,
  type Stage,
  stageTest,
  VERSION_1,
  VHOST_F_LOG_ALL,
} from "./harness.ts";

const F = VHOST_USER_PROTOCOL_F;
const PROTOCOL_FEATURES = protocolBits([
  F.REPLY_ACK,
  F.LOG_SHMFD,
  F.RESET_DEVICE,
]);
const QUIET = VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
const LOGGED = QUIET | VHOST_F_LOG_ALL;
/** Bytes of a log that has all pages of the memory. */
const LOG_SIZE = (GUEST_ADDRESS + MEMORY_SIZE) / 4096 / 8;

async function ready(stage: Stage): Promise<void> {
  const { frontend } = stage;
  await frontend.negotiate({
    features: QUIET,
    protocolFeatures: PROTOCOL_FEATURES,
  });
  await frontend.setMemTable([stage.region()]);
}

stageTest("the log is on while there is one and LOG_ALL is", async (stage) => {
  const { frontend, backend } = stage;
  await ready(stage);
  await stage.startRing(0);
  const log = { fd: stage.memfd(), size: LOG_SIZE };
  await frontend.migration.setLogBase(log);
  assertEquals(backend.layout.log, null);
  const before = backend.calls.length;
  await frontend.setFeatures(LOGGED);
  // The device hears nothing of it.
  assertEquals(backend.calls.slice(before), ["setMemory 1 logged"]);
  assertEquals(backend.layout.log!.size, LOG_SIZE);
  assertEquals(backend.layout.log!.eventFd, -1);
  await frontend.setFeatures(QUIET);
  assertEquals(backend.layout.log, null);
  assertEquals(backend.calls.slice(before + 1), ["setMemory 1"]);
  await frontend.setFeatures(LOGGED);
  assertNotEquals(backend.layout.log, null);
  // Memory that comes and goes changes nothing of it.
  await frontend.setMemTable([stage.region()]);
  assertNotEquals(backend.layout.log, null);
  await frontend.resetDevice();
  assertEquals(backend.layout.log, null);
  assertEquals(backend.layout.regions.length, 1);
});

stageTest(
  "LOG_ALL may come before the log, as it does in a start",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.setFeatures(LOGGED);
    assertEquals(backend.layout.log, null);
    const fd = stage.memfd();
    await frontend.migration.setLogBase({ fd, size: LOG_SIZE, offset: 24 });
    assertEquals(backend.layout.log!.size, LOG_SIZE);
  },
);

stageTest(
  "a log is in use until another one has taken its place",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.setFeatures(LOGGED);
    const fd = stage.memfd();
    await frontend.migration.setLogBase({ fd, size: LOG_SIZE });
    const first = backend.layout.log!.address;
    let mapped = 0;
    backend.onMemory = () => mapped = stage.mappings();
    await frontend.migration.setLogBase({ fd, size: LOG_SIZE });
    assertEquals(mapped, 3, "the memory and both logs");
    assertEquals(stage.mappings(), 2);
    assertNotEquals(backend.layout.log!.address, first);
    // Whether all threads are back on the old one nobody knows.
    stage.mappingsLeft = 1;
    backend.failing.add("setMemory");
    await stage.refused(frontend.migration.setLogBase({ fd, size: LOG_SIZE }));
    backend.failing.clear();
  },
);

stageTest("the log's eventfd goes along with it", async (stage) => {
  const { frontend, backend } = stage;
  await ready(stage);
  await frontend.setFeatures(LOGGED);
  await frontend.migration.setLogFd(stage.eventFd());
  const fd = stage.memfd();
  await frontend.migration.setLogBase({ fd, size: LOG_SIZE });
  assert(backend.layout.log!.eventFd >= 0);
  await frontend.migration.setLogFd(stage.eventFd());
  await stage.refused(frontend.migration.setLogFd(stage.memfd()));
});

stageTest(
  "SET_VRING_ADDR switches the log of the used ring on and off",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.setVringNum(0, 256);
    const log = GUEST_ADDRESS + 0x8000;
    await frontend.setVringAddr({ ...fullAddress(0), flags: 1, log });
    await frontend.setVringKick(0, stage.eventFd());
    assertEquals(backend.rings.get(0)!.start.usedLog, log);
    await frontend.setVringEnable(0, true);
    await frontend.setVringAddr(fullAddress(0));
    assertEquals(backend.calls.at(-1), "setUsedLog 0 -1");
    await frontend.setVringAddr({ ...fullAddress(0), flags: 1, log });
    assertEquals(backend.calls.at(-1), `setUsedLog 0 ${log}`);
    const far = { ...fullAddress(0), flags: 1, log: 2 ** 53 };
    await stage.refused(frontend.setVringAddr(far));
    const unknown = { ...fullAddress(0), flags: 3, log };
    await stage.refused(frontend.setVringAddr(unknown));
  },
);

stageTest("[H14] a log that can't be is refused", async (stage) => {
  const { frontend, backend } = stage;
  await ready(stage);
  await frontend.setFeatures(LOGGED);
  const memfd = stage.memfd();
  const small = stage.memfd(LOG_SIZE - 1);
  const eventFd = stage.own(EventFd.open()).fd;
  const wrong: [number, number, typeof memfd][] = [
    [0, 0, memfd],
    [LOG_SIZE - 1, 0, memfd],
    [LOG_SIZE, 0, small],
    [LOG_SIZE, MEMORY_SIZE, memfd],
    [LOG_SIZE, 2 ** 63, memfd],
    [2 ** 63, 2 ** 63, memfd],
    [2 ** 64 - 1, 2, memfd],
    [LOG_SIZE, 0, eventFd],
  ];
  for (const [size, offset, fd] of wrong) {
    const payload = logDescription.encode({ size: 0, offset: 0 });
    const view = new DataView(payload.buffer);
    const u64 = (value: number) => BigInt.asUintN(64, BigInt(value) & ~0n);
    view.setBigUint64(0, u64(size), true);
    view.setBigUint64(8, u64(offset), true);
    await stage.refused(
      frontend.command(VHOST_USER.SET_LOG_BASE, payload, [fd]),
    );
  }
  assertEquals(backend.layout.log, null);
});
