/** Beginnings and ends of sessions. */
import { assertEquals, assertRejects } from "@std/assert";
import { SystemError } from "../../src/errors.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { Session } from "../../src/vhost_user/session.ts";
import { FakeBackend, fullAddress, openFds, stageTest } from "./harness.ts";

stageTest(
  "[C60] RESET_DEVICE, and everything anew on the same socket",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0, 7);
    await stage.startRing(1);
    await frontend.setStatus(0x0f);
    await frontend.resetDevice();
    assertEquals(backend.calls.slice(-3), [
      "stopVring 0",
      "stopVring 1",
      "reset",
    ]);
    assertEquals(stage.mappings(), 1, "the memory is kept");
    assertEquals(await frontend.getStatus(), 0);
    assertEquals(await frontend.getVringBase(0), 0);
    // A kick alone starts nothing: size, addresses and features are gone.
    await frontend.setVringKick(0, stage.eventFd());
    await frontend.setVringEnable(0, true);
    assertEquals(backend.rings.size, 0);
    await frontend.negotiate();
    await stage.startRing(0, 9);
    assertEquals(backend.rings.get(0)!.start.base, 9);
    assertEquals(backend.rings.get(0)!.enabled, true);
  },
);

stageTest(
  "[C60] after RESET_DEVICE rings are disabled until they are enabled",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    await frontend.resetDevice();
    await frontend.negotiate();
    await frontend.setVringNum(0, 256);
    await frontend.setVringAddr(fullAddress(0));
    await frontend.setVringKick(0, stage.eventFd());
    assertEquals(backend.rings.get(0)!.start.enabled, false);
  },
);

stageTest(
  "after status 0 GET_VRING_BASE answers where the ring stopped",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0, 100);
    backend.done.set(0, 11);
    // As QEMU 7.2 pauses a guest, which then goes on as if nothing had been.
    await frontend.setStatus(0);
    assertEquals(await frontend.getVringBase(0), 111);
    // A start that names no base begins at 0, as after any reset.
    await frontend.negotiate();
    await frontend.setVringNum(0, 256);
    await frontend.setVringAddr(fullAddress(0));
    await frontend.setVringKick(0, stage.eventFd());
    assertEquals(backend.rings.get(0)!.start.base, 0);
  },
);

stageTest(
  "[H18] a front-end that leaves: rings drained, then memory unmapped",
  async (stage) => {
    const { backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    await stage.startRing(2);
    const drained = Promise.withResolvers<void>();
    backend.draining = drained.promise;
    const stopping = backend.when("stopVring 0");
    stage.frontend[Symbol.dispose]();
    await stopping;
    // [H18] Requests are in flight: the memory they use stays.
    assertEquals(stage.mappings(), 1);
    let seen = -1;
    backend.onMemory = () => seen = stage.mappings();
    drained.resolve();
    const end = await stage.ended;
    assertEquals(end, { kind: "hang-up", reason: "It hung up", error: null });
    assertEquals(backend.calls.slice(-3), [
      "stopVring 0",
      "stopVring 2",
      "setMemory 0",
    ]);
    assertEquals(seen, 1);
    assertEquals(stage.mappings(), 0);
  },
);

stageTest(
  "stop drains the rings before the front-end notices",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const drained = Promise.withResolvers<void>();
    backend.draining = drained.promise;
    const draining = backend.when("stopVring 0");
    const stopped = stage.session.stop();
    await draining;
    // Sent to a socket that is closed this would fail.
    await frontend.send(VHOST_USER.SET_OWNER);
    drained.resolve();
    await stopped;
    await assertRejects(() => frontend.send(VHOST_USER.SET_OWNER), SystemError);
    assertEquals((await stage.ended).kind, "stopped");
  },
);

stageTest("stop waits for the request that is under way", async (stage) => {
  const { frontend, backend } = stage;
  await stage.ready();
  await stage.startRing(0, 3);
  const drained = Promise.withResolvers<void>();
  backend.draining = drained.promise;
  const stopping = backend.when("stopVring 0");
  const base = frontend.getVringBase(0);
  await stopping;
  const stopped = stage.session.stop();
  drained.resolve();
  assertEquals(await base, 3);
  await stopped;
});

stageTest(
  "a session that is stopped before it runs ends at once",
  async (stage) => {
    const [ours, theirs] = UnixSocket.pair();
    stage.own(theirs);
    const session = new Session(ours, new FakeBackend(), stage.reactor);
    await session.stop();
    assertEquals((await session.run()).kind, "stopped");
    await session.stop();
  },
);

stageTest(
  "a ring that can't be stopped keeps its memory mapped",
  async (stage) => {
    const { backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    backend.failing.add("stopVring");
    stage.frontend[Symbol.dispose]();
    const end = await stage.ended;
    assertEquals(end.kind, "failed");
    assertEquals(stage.mappings(), 1);
    assertEquals(backend.calls.includes("setMemory 0"), false);
    // What the harness would miss, so that it can look at the rest.
    stage.mappingsLeft = 1;
    backend.rings.clear();
    backend.layout.regions.length = 0;
  },
);

stageTest("[H18] session after session leaves nothing", async (stage) => {
  const before = openFds();
  for (let i = 0; i < 100; i++) {
    const [ours, theirs] = UnixSocket.pair();
    const backend = new FakeBackend();
    const session = new Session(ours, backend, stage.reactor);
    const ended = session.run();
    const frontend = Frontend.fromSocket(theirs, stage.reactor);
    await frontend.negotiate();
    const region = stage.region();
    await frontend.setMemTable([region]);
    region.fd instanceof Object && region.fd.close();
    await frontend.setVring(0, { ...fullAddress(0), size: 256 });
    frontend[Symbol.dispose]();
    assertEquals((await ended).kind, "hang-up");
  }
  assertEquals(openFds(), before);
  assertEquals(stage.mappings(), 0);
});
