import { assertEquals } from "@std/assert";
import { createMemfd } from "../../src/io/memfd.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { setLogLevel } from "../../src/log.ts";
import { Channel, closeFds } from "../../src/vhost_user/channel.ts";
import type { BackendHandlers } from "../../src/vhost_user/frontend_handlers.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import {
  iotlbMessage,
  sharedMemoryMap,
  u64,
  vringArea,
  vringState,
} from "../../src/vhost_user/message.ts";
import { VHOST_USER_BACKEND } from "../../src/vhost_user/protocol.ts";
import { openDescriptors } from "../support/descriptors.ts";
import { withDeadline } from "../vm/deadline.ts";
import { stageTest } from "./harness.ts";

// Refusals are what these tests are about.
setLogLevel("error");

const PATIENCE_MS = 20_000;
const ASK = 9;
const NOTHING = new Uint8Array(0);
const UUID = Uint8Array.from({ length: 16 }, (_, i) => i);
const MAP = { id: 1, fdOffset: 2, regionOffset: 3, size: 4, flags: 1n };
const MISS = { iova: 1, size: 0, userAddress: 0, permissions: 3, type: 1 };

/** The second socket, as the back-end has it. */
class BackendEnd implements AsyncDisposable {
  readonly frontend: Frontend;
  readonly reactor = new Reactor();
  readonly #main: Channel;
  #second: Channel | null = null;

  constructor() {
    const [ours, theirs] = UnixSocket.pair();
    this.frontend = Frontend.fromSocket(theirs, this.reactor);
    this.#main = new Channel(ours, this.reactor);
  }

  /** Has the front-end listen by `handlers`. */
  async open(handlers: BackendHandlers): Promise<void> {
    const listening = this.frontend.listenToBackend(handlers);
    const { fds } = (await this.#main.receive())!;
    this.#second?.[Symbol.dispose]();
    this.#second = new Channel(UnixSocket.fromFd(fds[0]!), this.reactor);
    await listening;
  }

  get second(): Channel {
    return this.#second!;
  }

  /** Asks for `request`: the number and the count of descriptors in answer. */
  async ask(
    request: number,
    payload: Uint8Array = NOTHING,
    fds: number[] = [],
    flags = ASK,
  ): Promise<[answer: bigint, fds: number]> {
    await this.second.send(request, flags, payload, fds);
    const reply = await withDeadline(this.second.receive(), PATIENCE_MS);
    assertEquals([reply!.request, reply!.flags], [request, 5]);
    const count = reply!.fds.length;
    closeFds(reply!.fds);
    return [u64.decode(reply!.payload).value, count];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#second?.[Symbol.dispose]();
    this.#main[Symbol.dispose]();
    this.frontend[Symbol.dispose]();
    await this.reactor[Symbol.asyncDispose]();
  }
}

function backendTest(
  name: string,
  handlers: BackendHandlers,
  body: (end: BackendEnd) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const before = openDescriptors();
    {
      await using end = new BackendEnd();
      await end.open(handlers);
      await body(end);
    }
    assertEquals(openDescriptors(), before, "descriptors are left");
  });
}

const seen: unknown[] = [];
const ALL: Required<BackendHandlers> = {
  iotlb: (message) => void seen.push(message),
  configChanged: () => void seen.push("changed"),
  hostNotifier: ({ fd, ...rest }) => {
    seen.push(rest, fd !== null);
    fd?.close();
  },
  vringCall: (index) => void seen.push("call", index),
  vringErr: (index) => void seen.push("err", index),
  sharedObjectAdd: (uuid) => void seen.push("add", uuid),
  sharedObjectRemove: (uuid) => void seen.push("remove", uuid),
  sharedObjectLookup: (uuid) => uuid[0] === 0 ? 0 : null,
  sharedMemoryMap: (map, fd) => {
    seen.push(map);
    fd.close();
  },
  sharedMemoryUnmap: (map) => Promise.resolve(void seen.push("unmap", map)),
};

const AREA = { vring: 2n, size: 4096, offset: 8 };

interface Case {
  payload: Uint8Array;
  /** Descriptors that it takes. */
  fds: number;
  /** What the handler is to see. */
  sees: unknown[];
}

const CASES: Record<keyof typeof VHOST_USER_BACKEND, Case> = {
  IOTLB_MSG: { payload: iotlbMessage.encode(MISS), fds: 0, sees: [MISS] },
  CONFIG_CHANGE_MSG: { payload: NOTHING, fds: 0, sees: ["changed"] },
  VRING_HOST_NOTIFIER_MSG: {
    payload: vringArea.encode(AREA),
    fds: 1,
    sees: [{ index: 2, size: 4096, offset: 8 }, true],
  },
  VRING_CALL: {
    payload: vringState.encode({ index: 3, num: 0 }),
    fds: 0,
    sees: ["call", 3],
  },
  VRING_ERR: {
    payload: vringState.encode({ index: 4, num: 0 }),
    fds: 0,
    sees: ["err", 4],
  },
  SHARED_OBJECT_ADD: { payload: UUID, fds: 0, sees: ["add", UUID] },
  SHARED_OBJECT_REMOVE: { payload: UUID, fds: 0, sees: ["remove", UUID] },
  SHARED_OBJECT_LOOKUP: { payload: UUID, fds: 0, sees: [] },
  SHMEM_MAP: { payload: sharedMemoryMap.encode(MAP), fds: 1, sees: [MAP] },
  SHMEM_UNMAP: {
    payload: sharedMemoryMap.encode(MAP),
    fds: 0,
    sees: ["unmap", MAP],
  },
};

for (const [name, { payload, fds, sees }] of Object.entries(CASES)) {
  const request = VHOST_USER_BACKEND[name as keyof typeof VHOST_USER_BACKEND];
  const answersFd = name === "SHARED_OBJECT_LOOKUP";

  backendTest(`${name} of a back-end reaches its handler`, ALL, async (end) => {
    using fd = createMemfd("test", 4096);
    seen.length = 0;
    const along = new Array(fds).fill(fd.number);
    const [answer, count] = await end.ask(request, payload, along);
    assertEquals([answer, count], [0n, answersFd ? 1 : 0]);
    assertEquals(seen, sees);
  });

  backendTest(`${name} without a handler is refused`, {}, async (end) => {
    using fd = createMemfd("test", 4096);
    const along = new Array(fds).fill(fd.number);
    assertEquals((await end.ask(request, payload, along))[0], 1n);
    // Unasked, and not the end of anything.
    if (!answersFd) {
      await end.second.send(request, 1, payload, along);
      assertEquals((await end.ask(request, payload, along))[0], 1n);
    }
  });

  backendTest(`${name} that is malformed is refused`, ALL, async (end) => {
    using fd = createMemfd("test", 4096);
    seen.length = 0;
    const longer = new Uint8Array(payload.length + 1);
    const right = new Array(fds).fill(fd.number);
    assertEquals((await end.ask(request, longer, right))[0], 1n);
    if (payload.length > 0) {
      const shorter = payload.subarray(1);
      assertEquals((await end.ask(request, shorter, right))[0], 1n);
    }
    const more = [...right, fd.number];
    assertEquals((await end.ask(request, payload, more))[0], 1n);
    if (fds > 0) assertEquals((await end.ask(request, payload))[0], 1n);
    assertEquals(seen, []);
  });
}

backendTest(
  "a host notifier is taken away without a descriptor",
  ALL,
  async (end) => {
    seen.length = 0;
    const payload = vringArea.encode({ ...AREA, vring: 0x102n });
    await end.ask(VHOST_USER_BACKEND.VRING_HOST_NOTIFIER_MSG, payload);
    assertEquals(seen, [{ index: 2, size: 4096, offset: 8 }, false]);
  },
);

backendTest(
  "what nobody exports is answered, asked for or not",
  ALL,
  async (end) => {
    const request = VHOST_USER_BACKEND.SHARED_OBJECT_LOOKUP;
    const unknown = new Uint8Array(16).fill(9);
    assertEquals(await end.ask(request, unknown, [], 1), [1n, 0]);
    assertEquals(await end.ask(request, UUID, [], 1), [0n, 1]);
  },
);

backendTest("a handler that throws, or rejects, is a refusal", {
  configChanged: () => Promise.reject(new Error("Not now")),
  vringCall() {
    throw new Error("Not ever");
  },
}, async (end) => {
  const { CONFIG_CHANGE_MSG, VRING_CALL } = VHOST_USER_BACKEND;
  assertEquals(await end.ask(CONFIG_CHANGE_MSG), [1n, 0]);
  const payload = vringState.encode({ index: 0, num: 0 });
  assertEquals(await end.ask(VRING_CALL, payload), [1n, 0]);
});

backendTest(
  "requests that nobody knows, and replies, end nothing",
  ALL,
  async (end) => {
    seen.length = 0;
    using fd = createMemfd("test", 4096);
    for (const request of [0, 11, 255, 0xffff_ffff]) {
      const along = new Array(20).fill(fd.number);
      assertEquals(await end.ask(request, UUID, along), [1n, 0]);
    }
    const { CONFIG_CHANGE_MSG } = VHOST_USER_BACKEND;
    await end.second.send(CONFIG_CHANGE_MSG, 0xd, NOTHING);
    assertEquals(await end.ask(CONFIG_CHANGE_MSG), [0n, 0]);
    assertEquals(seen, ["changed"]);
  },
);

backendTest(
  "what is no message ends the second socket and nothing else",
  ALL,
  async (end) => {
    await end.second.sendRaw(new Uint8Array(64).fill(0xee));
    assertEquals(await withDeadline(end.second.receive(), PATIENCE_MS), null);
    // The main socket is as good as ever, and a second one can be opened anew.
    await end.open(ALL);
    const { CONFIG_CHANGE_MSG } = VHOST_USER_BACKEND;
    assertEquals(await end.ask(CONFIG_CHANGE_MSG), [0n, 0]);
  },
);

stageTest("a handler may ask the back-end for something", async (stage) => {
  const { backend, frontend } = stage;
  await stage.ready();
  await stage.startRing(0);
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await frontend.listenToBackend({
    configChanged: async () => resolve(await frontend.getConfig(0, 1)),
  });
  backend.config[0] = 77;
  backend.notify!();
  assertEquals(await withDeadline(promise, PATIENCE_MS), Uint8Array.of(77));
});
