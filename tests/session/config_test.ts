/** The config space, and the back-end's own requests. */
import { assertEquals, assertRejects } from "@std/assert";
import { EAGAIN } from "../../src/ffi/abi.ts";
import type { Fd } from "../../src/io/fd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import {
  configHeader,
  encodeConfig,
  encodeMessage,
  header,
  u64,
} from "../../src/vhost_user/message.ts";
import {
  VHOST_USER,
  VHOST_USER_BACKEND,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { openFds, type Stage, stageTest } from "./harness.ts";

const { GET_CONFIG, SET_CONFIG, SET_BACKEND_REQ_FD } = VHOST_USER;

stageTest(
  "[C53] GET_CONFIG answers the size it was asked for",
  async (stage) => {
    const { frontend, backend } = stage;
    await frontend.negotiate();
    // As QEMU and cloud-hypervisor of several versions ask.
    for (const size of [1, 36, 60, 64, 96, 128, 256]) {
      const bytes = await frontend.getConfig(0, size);
      assertEquals(bytes.length, size);
      assertEquals(
        bytes.subarray(0, 64),
        backend.config.slice(0, size) as typeof bytes,
      );
      assertEquals(bytes.subarray(64).every((byte) => byte === 0), true);
    }
    assertEquals([...await frontend.getConfig(8, 4)], [8, 9, 10, 11]);
  },
);

stageTest(
  "[C53] GET_CONFIG needs no room for the answer",
  async ({ frontend }) => {
    await frontend.negotiate();
    const payload = configHeader.encode({ offset: 4, size: 3, flags: 1 });
    const reply = await frontend.request(GET_CONFIG, payload);
    assertEquals(configHeader.decode(reply), { offset: 4, size: 3, flags: 1 });
    assertEquals([...reply.subarray(12)], [4, 5, 6]);
  },
);

stageTest(
  "[C53] [H13] a bad range is answered by an empty payload",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const bad: [offset: number, size: number][] = [
      [2 ** 32 - 1, 256],
      [2 ** 32 - 1, 1],
      [0, 0],
      [0, 257],
      [0, 2 ** 32 - 1],
      [256, 1],
    ];
    for (const [offset, size] of bad) {
      const payload = configHeader.encode({ offset, size, flags: 0 });
      const reply = await frontend.request(GET_CONFIG, payload);
      assertEquals(reply.length, 0, `${size} bytes at ${offset}`);
    }
    const other = encodeConfig(0, 0, new Uint8Array(8));
    other[4] = 9;
    assertEquals((await frontend.request(GET_CONFIG, other)).length, 0);
    await assertRejects(() => frontend.getConfig(300, 4), NackError);
    await stage.alive();
  },
);

stageTest("[C53] SET_CONFIG writes with flags 0 and 1", async (stage) => {
  const { frontend, backend } = stage;
  await frontend.negotiate();
  await frontend.setConfig(1, Uint8Array.of(7, 8));
  await frontend.setConfig(3, Uint8Array.of(9), 1);
  assertEquals([...backend.config.subarray(0, 5)], [0, 7, 8, 9, 4]);
});

stageTest(
  "[C53] [H13] SET_CONFIG on other flags, sizes and fields is refused",
  async (stage) => {
    const { frontend, backend } = stage;
    await frontend.negotiate();
    const one = Uint8Array.of(1);
    await stage.refused(frontend.setConfig(0, one, 2));
    await stage.refused(frontend.setConfig(0, one, 2 ** 31));
    await stage.refused(frontend.setConfig(4, one));
    await stage.refused(frontend.setConfig(2 ** 32 - 1, one));
    await stage.refused(frontend.setConfig(0, new Uint8Array(257)));
    const lie = encodeConfig(0, 0, one);
    lie[4] = 2;
    await stage.refused(frontend.command(SET_CONFIG, lie));
    assertEquals(backend.config[4], 4);
  },
);

stageTest(
  "[H13] a guest that writes read-only fields does not end the session",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    // QEMU does not ask for an acknowledgement here.
    const payload = encodeConfig(8, 0, Uint8Array.of(1));
    await frontend.send(SET_CONFIG, payload);
    await stage.alive();
  },
);

/** A promise for the next change that the front-end hears of. */
class Changes {
  #heard = Promise.withResolvers<void>();
  count = 0;

  readonly hear = () => {
    this.count++;
    this.#heard.resolve();
    this.#heard = Promise.withResolvers<void>();
  };

  next(): Promise<void> {
    return this.#heard.promise;
  }
}

stageTest(
  "a config change is told to the front-end, which can read it then",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const changes = new Changes();
    await frontend.listenToBackend({ configChanged: changes.hear });
    for (const value of [21, 22, 23]) {
      backend.config[0] = value;
      const heard = changes.next();
      backend.notify!();
      await heard;
      assertEquals((await frontend.getConfig(0, 1))[0], value);
    }
    assertEquals(changes.count, 3);
  },
);

stageTest(
  "a config change while all rings are stopped is told when one starts",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const changes = new Changes();
    await frontend.listenToBackend({ configChanged: changes.hear });
    backend.notify!();
    backend.notify!();
    await stage.alive();
    assertEquals(changes.count, 0);
    const heard = changes.next();
    await stage.startRing(0);
    await heard;
    assertEquals(changes.count, 1);
  },
);

/** Sends SET_BACKEND_REQ_FD; our end of that socket. */
async function openChannel(stage: Stage): Promise<UnixSocket> {
  const [ours, theirs] = UnixSocket.pair();
  stage.own(ours);
  const nothing = new Uint8Array(0);
  const { frontend } = stage;
  await frontend.command(SET_BACKEND_REQ_FD, nothing, [theirs.fd]);
  theirs[Symbol.dispose]();
  return ours;
}

async function readHeader(stage: Stage, socket: UnixSocket) {
  await stage.reactor.readable(socket.fd.number);
  const bytes = new Uint8Array(12);
  assertEquals(socket.receive(bytes).size, 12);
  return header.decode(bytes);
}

stageTest(
  "CONFIG_CHANGE_MSG asks for a reply where REPLY_ACK is on, and drops it",
  async (stage) => {
    await stage.ready();
    await stage.startRing(0);
    const socket = await openChannel(stage);
    const request = VHOST_USER_BACKEND.CONFIG_CHANGE_MSG;
    for (const value of [0n, 1n]) {
      stage.backend.notify!();
      assertEquals(await readHeader(stage, socket), {
        request,
        flags: 0x9,
        size: 0,
      });
      socket.send(encodeMessage(request, 5, u64.encode({ value })));
      await stage.alive();
    }
  },
);

stageTest(
  "CONFIG_CHANGE_MSG asks for no reply without REPLY_ACK",
  async (stage) => {
    const { MQ, BACKEND_REQ, CONFIG } = VHOST_USER_PROTOCOL_F;
    const { frontend } = stage;
    const protocolFeatures = BigInt(
      (1 << MQ) | (1 << BACKEND_REQ) | (1 << CONFIG),
    );
    await frontend.negotiate({ protocolFeatures });
    await frontend.setMemTable([stage.region()]);
    await stage.startRing(0);
    const socket = await openChannel(stage);
    await stage.alive();
    stage.backend.notify!();
    assertEquals((await readHeader(stage, socket)).flags, 0x1);
  },
);

stageTest(
  "no config change is told where CONFIG was not negotiated",
  async (stage) => {
    const { BACKEND_REQ, REPLY_ACK } = VHOST_USER_PROTOCOL_F;
    const { frontend } = stage;
    const protocolFeatures = BigInt((1 << BACKEND_REQ) | (1 << REPLY_ACK));
    await frontend.negotiate({ protocolFeatures });
    await frontend.setMemTable([stage.region()]);
    await stage.startRing(0);
    const socket = await openChannel(stage);
    stage.backend.notify!();
    await stage.alive();
    assertEquals(socket.receive(new Uint8Array(12)).size, -EAGAIN);
  },
);

stageTest("[H20] a channel that is closed hurts nobody", async (stage) => {
  await stage.ready();
  await stage.startRing(0);
  const before = openFds();
  const socket = await openChannel(stage);
  socket[Symbol.dispose]();
  for (let i = 0; i < 10; i++) {
    stage.backend.notify!();
    await stage.alive();
  }
  assertEquals(openFds(), before, "the dead channel was closed");
  await openChannel(stage);
});

stageTest("[H20] a channel that is never read hurts nobody", async (stage) => {
  await stage.ready();
  await stage.startRing(0);
  const socket = await openChannel(stage);
  const before = openFds();
  for (let i = 0; i < 5000; i++) {
    stage.backend.notify!();
    // Without turns of the loop all of them would become one notice.
    if (i % 10 === 0) await stage.alive();
  }
  await stage.alive();
  assertEquals(openFds(), before);
  assertEquals((await readHeader(stage, socket)).request, 2);
});

stageTest(
  "[H20] garbage on the channel closes only the channel",
  async (stage) => {
    await stage.ready();
    await stage.startRing(0);
    const before = openFds().length;
    const socket = await openChannel(stage);
    socket.send(new Uint8Array(100).fill(0xee), [stage.eventFd()]);
    // Its end is readable for us once it was closed over there.
    await stage.reactor.readable(socket.fd.number);
    assertEquals(socket.receive(new Uint8Array(1)).size, 0);
    assertEquals(openFds().length, before + 2, "our socket and our eventfd");
    await stage.alive();
  },
);

stageTest("[H20] a new channel replaces the old one", async (stage) => {
  await stage.ready();
  await stage.startRing(0);
  const before = openFds().length;
  const old = await openChannel(stage);
  const socket = await openChannel(stage);
  assertEquals(openFds().length, before + 3);
  assertEquals(old.receive(new Uint8Array(1)).size, 0);
  stage.backend.notify!();
  assertEquals((await readHeader(stage, socket)).request, 2);
});

stageTest("[H20] a channel that is no socket is refused", async (stage) => {
  await stage.ready();
  const nothing = new Uint8Array(0);
  const wrong: Fd[] = [stage.eventFd(), stage.memfd()];
  for (const fd of wrong) {
    const before = openFds();
    await stage.refused(
      stage.frontend.command(SET_BACKEND_REQ_FD, nothing, [fd]),
    );
    assertEquals(openFds(), before);
  }
});
