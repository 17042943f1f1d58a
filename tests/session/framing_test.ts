/** Headers, pieces, descriptors and numbers of messages. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { EAGAIN } from "../../src/ffi/abi.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { HANDLERS } from "../../src/vhost_user/handlers.ts";
import {
  encodeMessage,
  header,
  singleMemoryRegion,
} from "../../src/vhost_user/message.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { Session } from "../../src/vhost_user/session.ts";
import { FakeBackend, openFds, stageTest, withStage } from "./harness.ts";

const GET_FEATURES = encodeMessage(
  VHOST_USER.GET_FEATURES,
  1,
  new Uint8Array(0),
);

const BROKEN_HEADERS: [what: string, flags: number, size: number, string][] = [
  ["version 0", 0, 0, "version 0, wanted version 1"],
  ["version 2", 2, 0, "version 2, wanted version 1"],
  ["version 3", 3, 0, "version 3, wanted version 1"],
  ["a reserved bit", 0x11, 0, "flags 0x11"],
  ["the top bit", 0x8000_0001, 0, "flags 0x80000001"],
  ["size 4097", 1, 4097, "claims 4097 bytes"],
  ["size 0xffffffff", 1, 0xffff_ffff, "claims 4294967295 bytes"],
];

for (const [what, flags, size, reason] of BROKEN_HEADERS) {
  stageTest(
    `[C47] [H02] [H03] a header with ${what} ends the session`,
    async (stage) => {
      const request = VHOST_USER.SET_OWNER;
      const bytes = header.encode({ request, flags, size });
      await stage.frontend.sendRaw(bytes);
      assertStringIncludes(await stage.broken(), reason);
    },
  );
}

stageTest(
  "[C47] [H03] a request with the reply flag is refused",
  async (stage) => {
    await stage.frontend.negotiate();
    const { command } = rawCommands(stage.frontend);
    await command(VHOST_USER.SET_OWNER, 0x0d, new Uint8Array(0));
    await stage.alive();
    await stage.frontend.sendRaw(
      encodeMessage(VHOST_USER.SET_OWNER, 0x05, new Uint8Array(0)),
    );
    assertStringIncludes(await stage.broken(), "reply flag");
  },
);

/** Sends raw messages that must be answered by a NACK. */
function rawCommands(
  frontend: import("../../src/vhost_user/frontend.ts").Frontend,
) {
  return {
    async command(request: number, flags: number, payload: Uint8Array) {
      await frontend.sendRaw(encodeMessage(request, flags, payload));
      const reply = (await frontend.receive())!;
      assertEquals([reply.request, reply.flags], [request, 5]);
      assertEquals(reply.payload.some((byte) => byte !== 0), true);
    },
  };
}

stageTest(
  "[C47] [H02] each request is refused with a byte too few or too many",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    for (const { request, size } of HANDLERS) {
      const more = new Uint8Array(size.max + 1);
      await stage.refused(frontend.command(request, more));
      if (size.min === 0) continue;
      const fewer = new Uint8Array(size.min - 1);
      await stage.refused(frontend.command(request, fewer));
    }
    assertEquals(stage.backend.calls.length, 1);
  },
);

Deno.test("[C48] [H01] a header or payload that is cut anywhere is noticed", async () => {
  const whole = encodeMessage(
    VHOST_USER.SET_FEATURES,
    1,
    new Uint8Array(8),
  );
  for (let size = 0; size < whole.length; size++) {
    await withStage(async (stage) => {
      if (size > 0) await stage.frontend.sendRaw(whole.slice(0, size));
      stage.frontend[Symbol.dispose]();
      const end = await stage.ended;
      assertEquals(end.kind, size === 0 ? "hang-up" : "protocol");
      if (size > 0) {
        const total = size < 12 ? 12 : 20;
        assertStringIncludes(end.reason, `after ${size} of ${total} bytes`);
      }
    });
  }
});

Deno.test("[C48] [H01] the descriptors of a message that is cut are closed", async () => {
  await withStage(async (stage) => {
    const bytes = encodeMessage(VHOST_USER.ADD_MEM_REG, 1, new Uint8Array(40));
    await stage.frontend.sendRaw(bytes.slice(0, 30), [stage.memfd()]);
    stage.frontend[Symbol.dispose]();
    assertEquals((await stage.ended).kind, "protocol");
  });
});

stageTest("[C48] a message may come in any pieces", async (stage) => {
  const { frontend } = stage;
  for (const byte of GET_FEATURES) await frontend.sendRaw(Uint8Array.of(byte));
  assertEquals((await frontend.receive())!.request, VHOST_USER.GET_FEATURES);
  const two = new Uint8Array(24);
  two.set(GET_FEATURES);
  two.set(GET_FEATURES, 12);
  await frontend.sendRaw(two.slice(0, 17));
  await frontend.sendRaw(two.slice(17));
  assertEquals((await frontend.receive())!.request, VHOST_USER.GET_FEATURES);
  assertEquals((await frontend.receive())!.request, VHOST_USER.GET_FEATURES);
});

for (const count of [0, 2, 8, 9, 33, 253]) {
  stageTest(
    `[C49] [H05] ${count} descriptors where one is wanted: refused and closed`,
    async (stage) => {
      await stage.frontend.negotiate();
      const region = stage.region();
      const before = openFds();
      await stage.refused(stage.frontend.command(
        VHOST_USER.ADD_MEM_REG,
        singleMemoryRegion.encode(region),
        Array(count).fill(region.fd),
      ));
      assertEquals(openFds(), before);
    },
  );
}

stageTest(
  "[C49] [H05] descriptors on messages that take none are refused and closed",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const fd = stage.eventFd();
    const before = openFds();
    for (const { request, size, fds } of HANDLERS) {
      if (fds !== 0) continue;
      await stage.refused(
        frontend.command(request, new Uint8Array(size.min), [fd]),
      );
    }
    assertEquals(openFds(), before);
  },
);

stageTest(
  "[H05] thousands of messages with surplus descriptors leave none",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const fd = stage.eventFd();
    const fds = Array(20).fill(fd);
    const nothing = new Uint8Array(0);
    const before = openFds();
    for (let i = 0; i < 2000; i++) {
      await frontend.command(VHOST_USER.SET_OWNER, nothing, fds).then(
        () => {
          throw new Error("surplus descriptors were accepted");
        },
        () => {},
      );
    }
    await stage.alive();
    assertEquals(openFds(), before);
  },
);

stageTest(
  "[H05] more descriptors than a message can have end the session",
  async (stage) => {
    const fds = Array(200).fill(stage.eventFd());
    // Each piece brings its own.
    await stage.frontend.sendRaw(GET_FEATURES.slice(0, 6), fds);
    await stage.frontend.sendRaw(GET_FEATURES.slice(6), fds);
    assertStringIncludes(await stage.broken(), "400 descriptors");
  },
);

stageTest("[H04] numbers that no request has are refused", async (stage) => {
  const { frontend } = stage;
  await frontend.negotiate();
  for (const request of [0, 46, 255, 4096, 2 ** 31, 2 ** 32 - 1]) {
    await stage.refused(frontend.command(request, new Uint8Array(8)));
  }
});

stageTest(
  "[H04] an unknown request ends a session that can't say no",
  async (stage) => {
    await stage.frontend.send(99, new Uint8Array(0));
    assertStringIncludes(await stage.broken(), "request 99 is not served");
  },
);

stageTest(
  "[C61] requests that are not served are refused",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const served = new Set(HANDLERS.map((row) => row.request));
    const refused: string[] = [];
    for (const [name, request] of Object.entries(VHOST_USER)) {
      if (served.has(request)) continue;
      refused.push(name);
      await stage.refused(
        frontend.command(request, new Uint8Array(24), [stage.eventFd()]),
      );
    }
    assertEquals(refused, [
      "SET_VRING_ENDIAN",
      "CREATE_CRYPTO_SESSION",
      "CLOSE_CRYPTO_SESSION",
      "POSTCOPY_ADVISE",
      "POSTCOPY_LISTEN",
      "POSTCOPY_END",
      "GPU_SET_SOCKET",
      "GET_SHARED_OBJECT",
      "GET_SHMEM_CONFIG",
      "GET_VRING_BASE_SKIP_DRAIN",
    ]);
  },
);

stageTest(
  "[H17] a slow front-end does not stall another one",
  async (slow) => {
    await slow.frontend.sendRaw(GET_FEATURES.slice(0, 5));
    const [ours, theirs] = UnixSocket.pair();
    const backend = new FakeBackend();
    const session = new Session(ours, backend, slow.reactor);
    const ended = session.run();
    theirs.send(GET_FEATURES);
    await slow.reactor.readable(theirs.fd.number);
    theirs[Symbol.dispose]();
    assertEquals((await ended).kind, "hang-up");
    await slow.frontend.sendRaw(GET_FEATURES.slice(5));
    assertEquals((await slow.frontend.receive())!.request, 1);
  },
);

/** Sends whole requests until the socket takes no more: how many went in. */
function flood(socket: UnixSocket): number {
  let sent = 0;
  for (;;) {
    const size = socket.send(GET_FEATURES);
    if (size === -EAGAIN) return sent;
    assertEquals(size, GET_FEATURES.length);
    sent++;
  }
}

stageTest(
  "[H17] a flood without reading is held up, then answered in full",
  async (stage) => {
    const [ours, theirs] = UnixSocket.pair();
    stage.own(theirs);
    const session = new Session(ours, new FakeBackend(), stage.reactor);
    const ended = session.run();
    let sent = 0;
    // Full for good when the session has stopped reading too, since its own
    // answers are not read; everyone else is still served.
    for (let quiet = 0; quiet < 3;) {
      const more = flood(theirs);
      sent += more;
      quiet = more === 0 ? quiet + 1 : 0;
      await stage.alive();
    }
    let received = 0;
    const buffer = new Uint8Array(64 * 1024);
    while (received < sent * 20) {
      const { size } = theirs.receive(buffer);
      if (size === -EAGAIN) await stage.reactor.readable(theirs.fd.number);
      else received += size;
    }
    assertEquals(received, sent * 20);
    await session.stop();
    assertEquals((await ended).kind, "stopped");
  },
);

stageTest(
  "[H17] a session stops though its answers are never read",
  async (stage) => {
    const [ours, theirs] = UnixSocket.pair();
    stage.own(theirs);
    const session = new Session(ours, new FakeBackend(), stage.reactor);
    const ended = session.run();
    for (let quiet = 0; quiet < 3;) {
      quiet = flood(theirs) === 0 ? quiet + 1 : 0;
      await stage.alive();
    }
    await session.stop();
    assertEquals((await ended).kind, "stopped");
  },
);

stageTest("[H17] garbage ends the session cleanly", async (stage) => {
  const garbage = new Uint8Array(1000);
  for (let i = 0; i < garbage.length; i++) garbage[i] = (i * 151 + 7) & 0xff;
  await stage.frontend.sendRaw(garbage);
  assertEquals((await stage.ended).kind, "protocol");
});
