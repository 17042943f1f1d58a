import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { SystemError } from "../../src/errors.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { CancelledError, Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import {
  Frontend,
  HangUpError,
  NackError,
  RequestTimeoutError,
} from "../../src/vhost_user/frontend.ts";
import { u64, vringAddress } from "../../src/vhost_user/message.ts";
import {
  protocolBits,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { withBackend } from "../support/answering_backend.ts";
import { openDescriptors } from "../support/descriptors.ts";
import { withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 20_000;
const { GET_FEATURES, GET_STATUS } = VHOST_USER;
const NUMBER = u64.encode({ value: 7n });

Deno.test("a back-end that is wedged is an error, for all that follows too", async () => {
  await withBackend(
    ({ request }, channel) =>
      request === GET_FEATURES ? channel.send(request, 5, NUMBER) : undefined,
    async (frontend) => {
      assertEquals(frontend.timeoutMs, Infinity);
      frontend.timeoutMs = PATIENCE_MS;
      assertEquals(await frontend.getFeatures(), 7n);
      frontend.timeoutMs = 20;
      const wedged = frontend.getStatus();
      const queued = frontend.getFeatures();
      const results = await withDeadline(
        Promise.allSettled([wedged, queued]),
        PATIENCE_MS,
      );
      for (const result of results) {
        assertEquals(result.status, "rejected");
        const { reason } = result as PromiseRejectedResult;
        assertInstanceOf(reason, RequestTimeoutError);
        assertEquals([reason.request, reason.timeoutMs], [GET_STATUS, 20]);
      }
      // An answer that comes late is nobody's.
      await assertRejects(() => frontend.getFeatures(), RequestTimeoutError);
    },
  );
});

Deno.test("a limit that is longer than any timer is none that is over at once", async () => {
  await withBackend(
    async ({ request }, channel) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await channel.send(request, 5, NUMBER);
    },
    async (frontend) => {
      frontend.timeoutMs = 2 ** 31;
      assertEquals(await frontend.getFeatures(), 7n);
    },
  );
});

Deno.test("a back-end that reads nothing is an error as well", async () => {
  await using reactor = new Reactor();
  const [ours, theirs] = UnixSocket.pair();
  using _peer = ours;
  using frontend = Frontend.fromSocket(theirs, reactor);
  frontend.timeoutMs = 50;
  const bytes = new Uint8Array(200);
  const flood = async () => {
    for (;;) await frontend.setConfig(0, bytes);
  };
  const error = await assertRejects(
    () => withDeadline(flood(), PATIENCE_MS),
    RequestTimeoutError,
  );
  assertEquals(error.request, VHOST_USER.SET_CONFIG);
});

Deno.test("a request after the back-end died is a HangUpError with its cause", async () => {
  await using reactor = new Reactor();
  const [ours, theirs] = UnixSocket.pair();
  using frontend = Frontend.fromSocket(theirs, reactor);
  ours[Symbol.dispose]();
  const error = await assertRejects(() => frontend.setOwner(), HangUpError);
  assertEquals(error.request, VHOST_USER.SET_OWNER);
  assertInstanceOf(error.cause, SystemError);
});

Deno.test("a number of all ones is a refusal", async () => {
  const ones = u64.encode({ value: 2n ** 64n - 1n });
  await withBackend(
    ({ request }, channel) => channel.send(request, 5, ones),
    async (frontend) => {
      const error = await assertRejects(
        () => frontend.getQueueNum(),
        NackError,
      );
      assertEquals(error.request, VHOST_USER.GET_QUEUE_NUM);
    },
  );
});

Deno.test("a hang-up is heard of while nothing is asked", async () => {
  await using reactor = new Reactor();
  const [ours, theirs] = UnixSocket.pair();
  using frontend = Frontend.fromSocket(theirs, reactor);
  const heard = frontend.hungUp();
  // What was sent before is no hang-up, read or not.
  ours.send(Uint8Array.of(1, 2, 3));
  assertEquals(await Promise.race([heard, soon()]), "not yet");
  ours[Symbol.dispose]();
  await withDeadline(heard, PATIENCE_MS);
  await frontend.hungUp();
});

Deno.test("nobody waits for the hang-up of a connection that was closed", async () => {
  await using reactor = new Reactor();
  const [ours, theirs] = UnixSocket.pair();
  using _peer = ours;
  const frontend = Frontend.fromSocket(theirs, reactor);
  const heard = frontend.hungUp();
  frontend[Symbol.dispose]();
  await assertRejects(() => heard, CancelledError);
  await assertRejects(() => frontend.hungUp(), CancelledError);
});

Deno.test("memory of more than 8 regions needs slots, and enough of them", async () => {
  const requests: number[] = [];
  let slots = 10n;
  await withBackend(
    async ({ request }, channel) => {
      requests.push(request);
      if (request === VHOST_USER.GET_MAX_MEM_SLOTS) {
        await channel.send(request, 5, u64.encode({ value: slots }));
      } else if (request === GET_FEATURES) {
        await channel.send(request, 5, NUMBER);
      }
    },
    async (frontend) => {
      using fd = createMemfd("test", 4096);
      const regions = Array.from({ length: 9 }, (_, i) => ({
        guestAddress: i * 8192,
        userAddress: i * 8192,
        size: 4096,
        mmapOffset: 0,
        fd,
      }));
      await assertRejects(
        () => frontend.shareMemory(regions),
        RangeError,
        "takes 8 regions",
      );
      await frontend.setProtocolFeatures(
        protocolBits([VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS]),
      );
      await frontend.shareMemory(regions);
      slots = 8n;
      await assertRejects(() => frontend.shareMemory(regions), RangeError);
      await frontend.shareMemory(regions.slice(1));
      await frontend.getFeatures();
    },
  );
  const { ADD_MEM_REG, GET_MAX_MEM_SLOTS, SET_MEM_TABLE } = VHOST_USER;
  assertEquals(requests, [
    VHOST_USER.SET_PROTOCOL_FEATURES,
    GET_MAX_MEM_SLOTS,
    ...new Array(9).fill(ADD_MEM_REG),
    GET_MAX_MEM_SLOTS,
    SET_MEM_TABLE,
    GET_FEATURES,
  ]);
});

Deno.test("a front-end listens for back-ends, one after the other", async () => {
  const before = openDescriptors();
  const directory = Deno.makeTempDirSync();
  try {
    await using reactor = new Reactor();
    const path = `${directory}/front.sock`;
    using listener = Frontend.listen(path, reactor);
    assertEquals(listener.path, path);
    for (const answer of [1, 2]) {
      const accepted = listener.accept();
      using backend = UnixSocket.connect(path);
      using frontend = await withDeadline(accepted, PATIENCE_MS);
      await frontend.send(answer);
      await reactor.readable(backend.fd.number);
      const { size } = backend.receive(new Uint8Array(64));
      assertEquals(size, 12);
    }
    const waiting = listener.accept();
    listener[Symbol.dispose]();
    await assertRejects(() => waiting, CancelledError);
    await assertRejects(() => listener.accept(), CancelledError);
    await assertRejects(
      () => Frontend.connectWithin(path, 1, reactor),
      SystemError,
      "ENOENT",
    );
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  assertEquals(openDescriptors(), before, "descriptors are left");
});

Deno.test("a back-end that is being started is waited for", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    await using reactor = new Reactor();
    const path = `${directory}/back.sock`;
    const found = Frontend.connectWithin(path, PATIENCE_MS, reactor);
    // It has looked at least once by now, and found nobody.
    using listener = Frontend.listen(path, reactor);
    const accepted = listener.accept();
    using frontend = await found;
    using _peer = await accepted;
    assertEquals(frontend.protocolFeatures, 0n);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

function soon(): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve("not yet"), 30));
}

Deno.test("what takes more of a front-end is only accepted when asked for", async () => {
  const offered = 1n << 26n | 1n << 32n | 1n << 33n | 1n << 34n | 1n << 35n;
  const accepted: bigint[] = [];
  await withBackend(
    async ({ request, payload }, channel) => {
      if (request === VHOST_USER.SET_FEATURES) {
        accepted.push(u64.decode(payload).value);
      } else if (request === GET_FEATURES) {
        await channel.send(request, 5, u64.encode({ value: offered }));
      }
    },
    async (frontend) => {
      await frontend.negotiate();
      await frontend.negotiate({ features: offered | 1n << 5n });
      await frontend.getFeatures();
    },
  );
  assertEquals(accepted, [1n << 32n, offered]);
});

Deno.test("a vring is set up before it starts, logged where that is wanted", async () => {
  const requests: number[] = [];
  const addresses: [flags: number, log: number][] = [];
  const ring = {
    size: 16,
    descriptor: 0x1000,
    available: 0x2000,
    used: 0x3000,
  };
  await withBackend(
    async ({ request, payload }, channel) => {
      requests.push(request);
      if (request === VHOST_USER.SET_VRING_ADDR) {
        const { flags, log } = vringAddress.decode(payload);
        addresses.push([flags, log]);
      } else if (request === GET_FEATURES) {
        await channel.send(request, 5, NUMBER);
      }
    },
    async (frontend) => {
      await frontend.setVring(0, ring);
      await frontend.setVring(0, { ...ring, log: 0x5000 });
      await frontend.getFeatures();
    },
  );
  assertEquals(addresses, [[0, 0], [1, 0x5000]]);
  assertEquals(requests.slice(0, 6), [
    VHOST_USER.SET_VRING_NUM,
    VHOST_USER.SET_VRING_BASE,
    VHOST_USER.SET_VRING_ADDR,
    VHOST_USER.SET_VRING_CALL,
    VHOST_USER.SET_VRING_KICK,
    VHOST_USER.SET_VRING_ENABLE,
  ]);
});
