/** Vrings: numbers, addresses, descriptors and the order they come in. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  AF_UNIX,
  EPIPE,
  O_CLOEXEC,
  O_RDWR,
  SOCK_CLOEXEC,
} from "../../src/ffi/abi.ts";
import { check } from "../../src/ffi/errno.ts";
import { libc } from "../../src/ffi/libc.ts";
import { cString } from "../../src/ffi/pointer.ts";
import { signalEventFd } from "../../src/io/event_fd.ts";
import { Fd } from "../../src/io/fd.ts";
import { UnixListener, UnixSocket } from "../../src/io/unix_socket.ts";
import { vringAddress } from "../../src/vhost_user/message.ts";
import {
  VHOST_USER,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from "../../src/vhost_user/protocol.ts";
import {
  fullAddress,
  GUEST_ADDRESS,
  MEMORY_SIZE,
  number64,
  openFds,
  ringAddress,
  type Stage,
  stageTest,
  USER_ADDRESS,
  VERSION_1,
  vringMessages,
} from "./harness.ts";

stageTest("a ring is started as it was described", async (stage) => {
  const { backend } = stage;
  await stage.ready();
  await stage.startRing(1, 65530);
  const { start, enabled } = backend.rings.get(1)!;
  const { kickFd, callFd, errFd, ...rest } = start;
  assertEquals(rest, {
    size: 256,
    descriptorArea: GUEST_ADDRESS + 0x1_0000,
    driverArea: GUEST_ADDRESS + 0x1_4000,
    deviceArea: GUEST_ADDRESS + 0x1_8000,
    base: 65530,
    features: VERSION_1,
    enabled: false,
    inflight: null,
    usedLog: -1,
  });
  assertEquals(enabled, true);
  for (const fd of [kickFd, callFd, errFd]) {
    const link = Deno.readLinkSync(`/proc/self/fd/${fd}`);
    assertStringIncludes(link, "[eventfd]");
  }
});

stageTest("[H07] [C01] sizes that no ring has are refused", async (stage) => {
  const { frontend, backend } = stage;
  await stage.ready();
  await frontend.setVringNum(0, 64);
  for (const size of [0, 3, 255, 1025, 2048, 65536, 2 ** 31, 2 ** 32 - 1]) {
    await stage.refused(frontend.setVringNum(0, size));
  }
  await frontend.setVringAddr(fullAddress(0));
  await frontend.setVringKick(0, stage.eventFd());
  assertEquals(backend.rings.get(0)!.start.size, 64, "the old size is kept");
  for (const size of [1, 2, 1024]) await frontend.setVringNum(1, size);
});

stageTest("a base that no split ring has is refused", async (stage) => {
  await stage.ready();
  await stage.frontend.setVringBase(0, 65535);
  await stage.refused(stage.frontend.setVringBase(0, 65536));
  await stage.refused(stage.frontend.setVringBase(0, 0x8000_8000));
});

stageTest(
  "[C52] [H06] a vring that does not exist is refused by every message",
  async (stage) => {
    await stage.ready();
    for (const index of [4, 5, 255, 256, 260, 100_000, 2 ** 31, 2 ** 32 - 1]) {
      for (const [name, request, payload] of vringMessages(index)) {
        // The index of these has 8 bits; bit 8 means something else.
        if (index === 256 && /KICK|CALL|ERR/.test(name)) continue;
        if (index === 260 && /KICK|CALL|ERR/.test(name)) continue;
        await stage.refused(stage.frontend.command(request, payload));
      }
    }
    const calls = stage.backend.calls.filter((call) => /ring/i.test(call));
    assertEquals(calls, []);
  },
);

stageTest(
  "[C52] [H06] bits above bit 8 of KICK, CALL and ERR are part of the index",
  async (stage) => {
    const { frontend } = stage;
    await stage.ready();
    const { SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR } = VHOST_USER;
    for (const request of [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR]) {
      for (const bit of [9n, 16n, 32n, 63n]) {
        const withFd = number64((1n << bit) | 1n);
        await stage.refused(
          frontend.command(request, withFd, [stage.eventFd()]),
        );
        const without = number64((1n << bit) | 0x100n);
        await stage.refused(frontend.command(request, without));
      }
    }
  },
);

stageTest(
  "[C52] bit 8 says that no descriptor comes, and must be right",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const { SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR } = VHOST_USER;
    for (const request of [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR]) {
      const fd = stage.eventFd();
      await stage.refused(frontend.command(request, number64(0x100n), [fd]));
      await stage.refused(frontend.command(request, number64(0n)));
    }
    await frontend.setVring(0, { ...ringAddress(0), size: 256 });
    const { kickFd, callFd, errFd } = backend.rings.get(0)!.start;
    assertEquals([kickFd, callFd, errFd], [-1, -1, -1]);
  },
);

type BadAddress = Partial<ReturnType<typeof fullAddress>>;
const END = USER_ADDRESS + MEMORY_SIZE;

const BAD_ADDRESSES: [what: string, change: BadAddress][] = [
  ["a misaligned descriptor table", { descriptor: USER_ADDRESS + 8 }],
  ["a misaligned available ring", { available: USER_ADDRESS + 0x4001 }],
  ["a misaligned used ring", { used: USER_ADDRESS + 0x8002 }],
  ["an unmapped descriptor table", { descriptor: 0x1000 }],
  ["an unmapped available ring", { available: 0x1000 }],
  ["an unmapped used ring", { used: 0x1000 }],
  ["a descriptor table that ends outside", { descriptor: END - 256 * 16 + 16 }],
  ["an available ring that ends outside", { available: END - 256 * 2 - 4 }],
  ["a used ring that ends outside", { used: END - 256 * 8 - 4 }],
  ["a descriptor table at the top", { descriptor: 2 ** 64 - 4096 }],
  ["a used ring at the end of memory", { used: END }],
  ["a guest address", { descriptor: GUEST_ADDRESS }],
  ["rings on one another", { used: USER_ADDRESS + 0x4000 }],
  ["rings that overlap by a little", { available: USER_ADDRESS + 0xff0 }],
  ["a log at no guest address", { flags: 1, log: 2 ** 60 }],
  ["an unknown flag", { flags: 0x8000_0000 }],
];

for (const [what, change] of BAD_ADDRESSES) {
  stageTest(`[C51] [H08] ${what}: refused`, async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await frontend.setVringNum(0, 256);
    const bad = { ...fullAddress(0), ...change };
    await stage.refused(frontend.setVringAddr(bad));
    assertEquals(backend.rings.size, 0);
    await stage.startRing(0);
    assertEquals([...backend.rings.keys()], [0]);
  });
}

stageTest("[C51] [H08] addresses of all ones are refused", async (stage) => {
  await stage.ready();
  await stage.frontend.setVringNum(0, 256);
  const payload = vringAddress.encode(fullAddress(0));
  payload.fill(0xff, 8);
  await stage.refused(
    stage.frontend.command(VHOST_USER.SET_VRING_ADDR, payload),
  );
});

stageTest("[C51] areas that end with the memory are fine", async (stage) => {
  const { frontend } = stage;
  await stage.ready();
  await frontend.setVringNum(0, 256);
  const used = END - (6 + 256 * 8) - 2;
  await frontend.setVringAddr({ ...fullAddress(0), used });
  await frontend.setVringNum(1, 256);
  const available = END - (6 + 256 * 2);
  await frontend.setVringAddr({ ...fullAddress(1), available });
});

stageTest(
  "[H08] a size that makes the areas too large keeps the ring from starting",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const used = END - 6 - 16 * 8 - 2;
    await frontend.setVringNum(0, 16);
    await frontend.setVringAddr({ ...fullAddress(0), used });
    await frontend.setVringNum(0, 1024);
    const before = openFds();
    const fd = stage.eventFd();
    await stage.refused(frontend.setVringKick(0, fd));
    assertEquals(openFds().length, before.length + 1);
    assertEquals(backend.rings.size, 0);
    await frontend.setVringNum(0, 16);
    await frontend.setVringKick(0, fd);
    assertEquals(backend.rings.size, 1);
  },
);

/** What makes up a running ring, to be sent in any order. */
const STEPS: Record<string, (stage: Stage) => Promise<unknown>> = {
  features: ({ frontend }) =>
    frontend.setFeatures(VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES),
  memory: (stage) => stage.frontend.setMemTable([stage.region()]),
  num: ({ frontend }) => frontend.setVringNum(0, 256),
  base: ({ frontend }) => frontend.setVringBase(0, 77),
  addr: ({ frontend }) => frontend.setVringAddr(fullAddress(0)),
  kick: (stage) => stage.frontend.setVringKick(0, stage.eventFd()),
  call: (stage) => stage.frontend.setVringCall(0, stage.eventFd()),
  enable: ({ frontend }) => frontend.setVringEnable(0, true),
};

/** Each order of `items`. */
function* orders<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield [];
  for (let i = 0; i < items.length; i++) {
    const rest = items.filter((_, j) => j !== i);
    for (const order of orders(rest)) yield [items[i]!, ...order];
  }
}

for (const last of Object.keys(STEPS)) {
  // What tells where the ring is to start can't come when it is running.
  if (last === "base" || last === "num") continue;
  stageTest(
    `[H15] any order of messages that ends with ${last} makes a ring run`,
    async (stage) => {
      const { frontend, backend } = stage;
      await frontend.setProtocolFeatures(0x8n);
      const others = Object.keys(STEPS).filter((name) => name !== last);
      // Every 23rd of the 5040 orders, others for each `last`.
      let n = last.length;
      for (const order of orders(others)) {
        if (n++ % 23 !== 0) continue;
        await inOrder(stage, [...order, last]);
        const ring = backend.rings.get(0);
        assertEquals(ring?.start.base, 77, order.join());
        assertEquals(ring?.enabled, true, order.join());
        assertEquals(ring?.start.size, 256, order.join());
        await blank(stage);
      }
    },
  );
}

/** Without BASE and NUM where a ring with all else would run before them. */
async function inOrder(stage: Stage, order: string[]): Promise<void> {
  const { frontend } = stage;
  const seen = new Set<string>();
  for (const name of order) {
    // As every front-end does: what configures a ring comes before ENABLE.
    if (name === "enable" && !(seen.has("base") && seen.has("num"))) {
      await STEPS.base!(stage);
      await STEPS.num!(stage);
      seen.add("base").add("num");
    }
    if (seen.has(name)) continue;
    seen.add(name);
    await STEPS[name]!(stage);
  }
  await frontend.getFeatures();
}

/** As after a new connection. */
async function blank({ frontend, backend }: Stage): Promise<void> {
  await frontend.setProtocolFeatures(0x8n | 0x2000n | 0x8000n);
  await frontend.resetDevice();
  for (const region of backend.layout.regions) {
    await frontend.removeMemReg({ ...region, mmapOffset: 0 });
  }
  await frontend.setVringCall(0, null);
  await frontend.setProtocolFeatures(0x8n);
}

stageTest(
  "[C56] GET_VRING_BASE drains and stops the ring and answers where it was",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(2, 65530);
    backend.done.set(2, 10);
    assertEquals(await frontend.getVringBase(2), 4);
    assertEquals(backend.calls.at(-1), "stopVring 2");
    assertEquals(backend.rings.size, 0);
    // It stays stopped, whatever comes but a kick descriptor.
    await frontend.setVringEnable(2, true);
    await frontend.setVringAddr(fullAddress(2));
    assertEquals(backend.rings.size, 0);
    assertEquals(await frontend.getVringBase(2), 4);
  },
);

stageTest(
  "[C56] a stopped ring goes on where it was with a new kick",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0, 100);
    backend.done.set(0, 11);
    await frontend.getVringBase(0);
    await frontend.setVringKick(0, stage.eventFd());
    const { start } = backend.rings.get(0)!;
    assertEquals(start.base, 111);
    assertEquals(start.enabled, true);
    assertEquals(start.callFd, -1, "the call was forgotten");
    assertEquals(start.errFd >= 0, true, "the err was kept");
  },
);

stageTest(
  "[C56] GET_VRING_BASE closes the kick and the call of the ring",
  async (stage) => {
    await stage.ready();
    await stage.startRing(0);
    const before = openFds().length;
    await stage.frontend.getVringBase(0);
    assertEquals(openFds().length, before - 2);
  },
);

stageTest(
  "[C56] [H15] a ring that never started answers the base it was given",
  async ({ frontend }) => {
    await frontend.negotiate();
    assertEquals(await frontend.getVringBase(3), 0);
    await frontend.setVringBase(3, 4711);
    assertEquals(await frontend.getVringBase(3), 4711);
  },
);

stageTest(
  "a running ring can't change its size, its base or its addresses",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    await stage.refused(frontend.setVringNum(0, 128));
    await stage.refused(frontend.setVringBase(0, 5));
    await stage.refused(
      frontend.setVringAddr({ ...fullAddress(1), index: 0 }),
    );
    await frontend.setVringAddr(fullAddress(0));
    await frontend.setVringEnable(0, false);
    await stage.refused(frontend.setVringBase(0, 5));
    assertEquals(backend.calls.filter((c) => c.startsWith("stop")), []);
  },
);

stageTest("[H15] ENABLE twice, and by what is no 0 or 1", async (stage) => {
  const { frontend, backend } = stage;
  await stage.ready();
  await stage.startRing(0);
  await frontend.setVringEnable(0, true);
  await frontend.setVringEnable(0, false);
  await frontend.setVringEnable(0, false);
  assertEquals(backend.rings.get(0)!.enabled, false);
  const payload = new Uint8Array(8);
  payload[4] = 2;
  await stage.refused(
    frontend.command(VHOST_USER.SET_VRING_ENABLE, payload),
  );
});

stageTest("ENABLE is served for each ring without MQ", async (stage) => {
  const { frontend, backend } = stage;
  await frontend.negotiate({ protocolFeatures: 0x8n });
  await frontend.setMemTable([stage.region()]);
  await stage.startRing(3);
  assertEquals(backend.rings.get(3)!.enabled, true);
});

stageTest("without bit 30 a ring starts enabled", async (stage) => {
  const { frontend, backend } = stage;
  await frontend.setProtocolFeatures(0x8n);
  await frontend.setFeatures(VERSION_1);
  await frontend.setMemTable([stage.region()]);
  await frontend.setVringNum(0, 256);
  await frontend.setVringAddr(fullAddress(0));
  await frontend.setVringKick(0, stage.eventFd());
  assertEquals(backend.rings.get(0)!.start.enabled, true);
});

stageTest(
  "RESET_OWNER disables the rings and keeps the rest",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    await frontend.resetOwner();
    assertEquals(backend.rings.get(0)!.enabled, false);
    assertEquals(backend.layout.regions.length, 1);
    await frontend.setVringEnable(0, true);
    assertEquals(backend.rings.get(0)!.enabled, true);
  },
);

stageTest("a new kick restarts a running ring where it is", async (stage) => {
  const { frontend, backend } = stage;
  await stage.ready();
  await stage.startRing(0, 5);
  backend.done.set(0, 3);
  const before = openFds().length;
  await frontend.setVringKick(0, stage.eventFd());
  assertEquals(openFds().length, before + 1, "the old one was closed");
  assertEquals(backend.rings.get(0)!.start.base, 8);
  assertEquals(backend.rings.get(0)!.enabled, true);
});

stageTest(
  "a new call is with the data plane before the old one is closed",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const { start } = backend.rings.get(0)!;
    const [call, err] = [start.callFd, start.errFd];
    await frontend.setVringCall(0, stage.eventFd());
    await frontend.setVringErr(0, stage.eventFd());
    assertEquals(backend.calls.slice(-2), ["setCall 0", "setErr 0"]);
    assertEquals(start.callFd !== call, true);
    assertEquals(start.errFd !== err, true);
    await frontend.setVringCall(0, null);
    assertEquals(start.callFd, -1);
    backend.failing.add("setCall");
    const before = openFds().length;
    const fd = stage.eventFd();
    await stage.refused(frontend.setVringCall(0, fd));
    assertEquals(openFds().length, before + 1);
  },
);

stageTest(
  "a ring that the data plane does not start is refused, and can be tried again",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await frontend.setVringNum(0, 256);
    await frontend.setVringAddr(fullAddress(0));
    backend.failing.add("startVring");
    const fd = stage.eventFd();
    const before = openFds();
    await stage.refused(frontend.setVringKick(0, fd));
    assertEquals(openFds(), before);
    backend.failing.clear();
    await frontend.setVringKick(0, fd);
    assertEquals([...backend.rings.keys()], [0]);
  },
);

const SOCK_DGRAM = 2;

const BAD_NOTIFIERS: [what: string, open: (stage: Stage) => Fd][] = [
  ["a regular file", (stage) => stage.memfd()],
  ["/dev/zero", (stage) => device(stage, "/dev/zero")],
  ["a terminal", (stage) => device(stage, "/dev/ptmx")],
  ["a datagram socket", (stage) => {
    const fds = new Int32Array(2);
    check(libc.socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), "pair");
    return [...fds].map((fd) => stage.own(new Fd(fd)))[0]!;
  }],
  ["a listening socket", (stage) => {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-vring-" });
    const listener = stage.own(UnixListener.bind(`${directory}/s`));
    Deno.removeSync(directory, { recursive: true });
    return listener.fd;
  }],
];

for (const [what, open] of BAD_NOTIFIERS) {
  stageTest(
    `[H11] ${what} can't notify: refused and closed`,
    async (stage) => {
      const { frontend } = stage;
      await stage.ready();
      const fd = open(stage);
      const before = openFds();
      await stage.refused(frontend.setVringKick(0, fd));
      await stage.refused(frontend.setVringCall(0, fd));
      await stage.refused(frontend.setVringErr(0, fd));
      assertEquals(openFds(), before);
    },
  );
}

stageTest(
  "[H11] a socket may be called and never blocks, and is no kick",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const [theirs, call] = UnixSocket.pair();
    stage.own(theirs);
    const { fd } = stage.own(call);
    await stage.refused(frontend.setVringKick(0, fd));
    await frontend.setVring(0, {
      ...ringAddress(0),
      size: 256,
      kick: stage.eventFd(),
      call: fd,
      err: fd,
    });
    const { start } = backend.rings.get(0)!;
    signalEventFd(start.callFd);
    signalEventFd(start.errFd);
    assertEquals(theirs.receive(new Uint8Array(64)).size, 16);
    const page = new Uint8Array(4096);
    // Blocking, this would never come to an end.
    while (libc.write(start.callFd, page, page.length) > 0);
    assertEquals(signalEventFd(start.callFd), 0, "full is signalled");
    theirs[Symbol.dispose]();
    assertEquals(signalEventFd(start.callFd), -EPIPE, "and nobody dies of it");
    await stage.alive();
  },
);

stageTest(
  "[H11] a pipe may stand in for an eventfd, and never blocks",
  async (stage) => {
    await stage.ready();
    const fds = new Int32Array(2);
    check(libc.pipe2(fds, O_CLOEXEC), "pipe2");
    const [reading, writing] = [...fds].map((fd) => stage.own(new Fd(fd)));
    await stage.frontend.setVring(0, {
      ...ringAddress(0),
      size: 256,
      kick: reading!,
      call: writing!,
    });
    const { start } = stage.backend.rings.get(0)!;
    const page = new Uint8Array(4096);
    // Blocking, this would never come to an end.
    while (libc.write(start.callFd, page, page.length) > 0);
  },
);

function device(stage: Stage, path: string): Fd {
  const number = libc.open(cString(path), O_RDWR | O_CLOEXEC, 0);
  return stage.own(new Fd(check(number, "open")));
}
