/** The state of a device, on its way out of a back-end and into one. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError, SystemError } from "../../src/errors.ts";
import { EPIPE } from "../../src/ffi/abi.ts";
import { ByteStream } from "../../src/io/byte_stream.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import type { Channel, Message } from "../../src/vhost_user/channel.ts";
import {
  NackError,
  RequestTimeoutError,
} from "../../src/vhost_user/frontend.ts";
import { deviceStateTransfer, u64 } from "../../src/vhost_user/message.ts";
import {
  MAX_DEVICE_STATE_SIZE,
  protocolBits,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { withBackend } from "../support/answering_backend.ts";
import {
  type FakeBackend,
  openFds,
  type Stage,
  stageTest,
  withStage,
} from "./harness.ts";

const { DEVICE_STATE, REPLY_ACK } = VHOST_USER_PROTOCOL_F;
const BITS = protocolBits([DEVICE_STATE, REPLY_ACK]);
/** More than a pipe or a socket holds. */
const LARGE: Uint8Array = Uint8Array.from({ length: 1 << 20 }, (_, i) => i * 7);

/** A back-end with a state. */
class Stateful {
  state: Uint8Array = LARGE;
  readonly loaded: Uint8Array[] = [];
  refuses = false;

  readonly prepare = (backend: FakeBackend): void => {
    Object.assign(backend, {
      saveState: () => this.#act(this.state),
      loadState: (state: Uint8Array) => {
        return this.#act(this.loaded.push(state));
      },
    });
  };

  #act<T>(result: T): Promise<T> {
    if (this.refuses) return Promise.reject(new Error("It can't be"));
    return Promise.resolve(result);
  }
}

/** Registers a test where DEVICE_STATE was negotiated. */
function stateTest(
  name: string,
  body: (stage: Stage, device: Stateful) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const device = new Stateful();
    await withStage(async (stage) => {
      await stage.frontend.negotiate({ protocolFeatures: BITS });
      await body(stage, device);
    }, device.prepare);
  });
}

/** A pipe of the test's. */
function pipe(stage: Stage): { reading: Fd; writing: Fd } {
  const { reading, writing } = ByteStream.pipe();
  return { reading: stage.own(reading), writing: stage.own(writing) };
}

/** Has a state saved to `fd`, which is closed here. */
async function save(stage: Stage, fd: Fd): Promise<void> {
  assertEquals(
    await stage.frontend.migration.setDeviceStateFd("save", fd),
    null,
  );
  fd.close();
}

/** Has a state loaded from `fd`, which is closed here. */
async function load(stage: Stage, fd: Fd): Promise<void> {
  assertEquals(
    await stage.frontend.migration.setDeviceStateFd("load", fd),
    null,
  );
  fd.close();
}

stageTest("a device without a state offers no DEVICE_STATE", async (stage) => {
  const { frontend } = stage;
  assertEquals(await frontend.getProtocolFeatures() & BITS, 8n);
  await frontend.negotiate();
  const { reading } = pipe(stage);
  await stage.refused(frontend.migration.setDeviceStateFd("save", reading));
  await stage.refused(frontend.migration.checkDeviceState());
});

stateTest("[C57] a state is saved over a pipe", async (stage, device) => {
  const { migration } = stage.frontend;
  assertEquals(await migration.saveDeviceState(), device.state);
  device.state = new Uint8Array(0);
  assertEquals(await migration.saveDeviceState(), device.state);
});

stateTest("[C57] a state is loaded over a pipe", async (stage, device) => {
  const { migration } = stage.frontend;
  const states = [LARGE, new Uint8Array(0), Uint8Array.of(1)];
  for (const state of states) await migration.loadDeviceState(state);
  assertEquals(device.loaded, states);
});

stateTest("[C57] a socket pair will do as well", async (stage, device) => {
  const { reactor, frontend: { migration } } = stage;
  for (const direction of ["save", "load"] as const) {
    const [ours, theirs] = UnixSocket.pair();
    await migration.setDeviceStateFd(direction, theirs.fd);
    theirs[Symbol.dispose]();
    using stream = new ByteStream(ours.fd, reactor);
    if (direction === "load") await stream.writeAll(LARGE.slice());
    else assertEquals(await stream.readAll(LARGE.length), device.state);
    stream[Symbol.dispose]();
    await migration.checkDeviceState();
  }
  assertEquals(device.loaded, [LARGE]);
});

stateTest(
  "[C57] a state takes effect when it is checked, not before",
  async (stage, device) => {
    const { reading, writing } = pipe(stage);
    await load(stage, reading);
    await new ByteStream(writing, stage.reactor).writeAll(Uint8Array.of(1, 2));
    writing.close();
    await stage.alive();
    assertEquals(device.loaded, []);
    await stage.frontend.migration.checkDeviceState();
    assertEquals(device.loaded, [Uint8Array.of(1, 2)]);
  },
);

stateTest(
  "[H19] who never reads its state holds up nothing",
  async (stage, device) => {
    const { frontend } = stage;
    const { writing } = pipe(stage);
    await save(stage, writing);
    for (let i = 0; i < 10; i++) await stage.alive();
    await stage.refused(frontend.migration.checkDeviceState());
    assertEquals(await frontend.migration.saveDeviceState(), device.state);
  },
);

stateTest(
  "[H19] a transfer takes the place of the one before",
  async (stage, device) => {
    const unread = pipe(stage);
    await save(stage, unread.writing);
    const unwritten = pipe(stage);
    await load(stage, unwritten.reading);
    const { migration } = stage.frontend;
    await migration.loadDeviceState(LARGE);
    assertEquals(device.loaded, [LARGE]);
    const late = new ByteStream(unwritten.writing, stage.reactor);
    const error = await assertRejects(
      () => late.writeAll(LARGE.slice()),
      SystemError,
    );
    assertEquals(error.errno, EPIPE);
  },
);

stateTest(
  "a transfer that is refused leaves the one before",
  async (stage, device) => {
    const { reading, writing } = pipe(stage);
    await load(stage, reading);
    using memfd = stage.memfd();
    const { migration } = stage.frontend;
    await stage.refused(migration.setDeviceStateFd("load", memfd));
    device.refuses = true;
    await stage.refused(migration.saveDeviceState());
    device.refuses = false;
    await new ByteStream(writing, stage.reactor).writeAll(Uint8Array.of(7));
    writing.close();
    await migration.checkDeviceState();
    assertEquals(device.loaded, [Uint8Array.of(7)]);
  },
);

stateTest(
  "[H19] a session that ends within a transfer leaves nothing",
  async (stage) => {
    const { writing } = pipe(stage);
    await save(stage, writing);
  },
);

stateTest("[H19] a reader that leaves is told", async (stage) => {
  const { reading, writing } = pipe(stage);
  reading.close();
  await save(stage, writing);
  await stage.refused(stage.frontend.migration.checkDeviceState());
});

stateTest("[H19] a state without an end is none", async (stage, device) => {
  const { reading, writing } = pipe(stage);
  await load(stage, reading);
  await new ByteStream(writing, stage.reactor).writeAll(Uint8Array.of(1, 2));
  await stage.refused(stage.frontend.migration.checkDeviceState());
  assertEquals(device.loaded, []);
});

stateTest(
  "[H19] a state without measure is not read to its end",
  async (stage, device) => {
    const { reading, writing } = pipe(stage);
    await load(stage, reading);
    using stream = new ByteStream(writing, stage.reactor);
    const endless = new Uint8Array(MAX_DEVICE_STATE_SIZE + (2 << 20));
    const error = await assertRejects(
      () => stream.writeAll(endless),
      SystemError,
    );
    assertEquals(error.errno, EPIPE);
    await stage.refused(stage.frontend.migration.checkDeviceState());
    await assertRejects(
      () => stage.frontend.migration.loadDeviceState(endless),
      NackError,
    );
    assertEquals(device.loaded, []);
  },
);

stateTest(
  "[H19] what the device says no to is refused",
  async (stage, device) => {
    const { migration } = stage.frontend;
    device.refuses = true;
    await stage.refused(migration.saveDeviceState());
    await stage.refused(migration.loadDeviceState(LARGE));
    device.refuses = false;
    device.state = new Uint8Array(MAX_DEVICE_STATE_SIZE + 1);
    await stage.refused(migration.saveDeviceState());
  },
);

stateTest("a check without a transfer is refused", async (stage) => {
  const { migration } = stage.frontend;
  await stage.refused(migration.checkDeviceState());
  await migration.saveDeviceState();
  await stage.refused(migration.checkDeviceState());
});

stateTest("while rings run there is no transfer", async (stage, device) => {
  const { frontend } = stage;
  await frontend.setMemTable([stage.region()]);
  await stage.startRing(1);
  await stage.refused(frontend.migration.saveDeviceState());
  await stage.refused(frontend.migration.loadDeviceState(LARGE));
  await frontend.getVringBase(1);
  const { reading, writing } = pipe(stage);
  await load(stage, reading);
  writing.close();
  await stage.startRing(1);
  await stage.refused(frontend.migration.checkDeviceState());
  assertEquals(device.loaded, []);
});

stateTest(
  "[H19] channels and wishes that can't be are refused",
  async (stage) => {
    const { frontend } = stage;
    const before = openFds();
    const ask = (direction: number, phase: number, fds: readonly Fd[]) =>
      frontend.request(
        VHOST_USER.SET_DEVICE_STATE_FD,
        deviceStateTransfer.encode({ direction, phase }),
        fds,
      );
    const { reading, writing } = ByteStream.pipe();
    using zero = stage.memfd();
    using eventFd = stage.eventFd();
    for (
      const [direction, phase, fds] of [
        [2, 0, [writing]],
        [0xffff_ffff, 0, [writing]],
        [0, 1, [writing]],
        [0, 0, [zero]],
        [1, 0, [eventFd]],
        [0, 0, []],
        [1, 0, [reading, reading]],
      ] as const
    ) {
      const { value } = u64.decode(await ask(direction, phase, fds));
      assertEquals(value, 0x101n, "an error, and no descriptor");
      await stage.alive();
    }
    for (const fd of [reading, writing, zero, eventFd]) fd.close();
    assertEquals(openFds(), before);
  },
);

Deno.test("an error is told without REPLY_ACK, too", async () => {
  const device = new Stateful();
  await withStage(async (stage) => {
    const protocolFeatures = protocolBits([DEVICE_STATE]);
    await stage.frontend.negotiate({ protocolFeatures });
    assert(!stage.frontend.hasProtocolFeature(REPLY_ACK));
    const { migration } = stage.frontend;
    await stage.refused(migration.checkDeviceState());
    device.refuses = true;
    await stage.refused(migration.saveDeviceState());
    device.refuses = false;
    assertEquals(await migration.saveDeviceState(), device.state);
  }, device.prepare);
});

/** A back-end that has a socket of its own for the state that it has. */
async function answerByOwnSocket(
  { request, payload }: Message,
  channel: Channel,
  loaded: Uint8Array[],
): Promise<void> {
  if (request === VHOST_USER.CHECK_DEVICE_STATE) {
    return await channel.send(request, 5, u64.encode({ value: 0n }));
  }
  assertEquals(request, VHOST_USER.SET_DEVICE_STATE_FD);
  const { direction } = deviceStateTransfer.decode(payload);
  const [ours, theirs] = UnixSocket.pair();
  await channel.send(request, 5, u64.encode({ value: 0n }), [theirs.fd]);
  theirs[Symbol.dispose]();
  using stream = new ByteStream(ours.fd, Reactor.main);
  if (direction === 0) await stream.writeAll(LARGE.slice());
  else loaded.push(await stream.readAll(LARGE.length));
}

Deno.test("[C57] a back-end's own channel is used in place of ours", async () => {
  const before = openFds();
  const loaded: Uint8Array[] = [];
  await withBackend(
    (message, channel) => answerByOwnSocket(message, channel, loaded),
    async (frontend) => {
      assertEquals(await frontend.migration.saveDeviceState(), LARGE);
      await frontend.migration.loadDeviceState(LARGE);
    },
  );
  assertEquals(loaded, [LARGE]);
  await Reactor.main[Symbol.asyncDispose]();
  assertEquals(openFds(), before);
});

Deno.test("a channel of a back-end that can be none is an error of it", async () => {
  const before = openFds();
  await withBackend(
    async ({ request }, channel) => {
      using file = createMemfd("no-channel", 16);
      const answer = u64.encode({ value: 0n });
      await channel.send(request, 5, answer, [file]);
    },
    async ({ migration }) => {
      const wanted = "a pipe or a socket is wanted";
      await assertRejects(
        () => migration.saveDeviceState(),
        ProtocolError,
        wanted,
      );
      await assertRejects(
        () => migration.loadDeviceState(LARGE),
        ProtocolError,
        wanted,
      );
    },
  );
  assertEquals(openFds(), before);
});

Deno.test("a back-end that never ends its state is an error in time", async () => {
  const kept: Fd[] = [];
  await withBackend(
    ({ request, fds }, channel) => {
      kept.push(...fds.splice(0));
      return channel.send(request, 5, u64.encode({ value: 0x100n }));
    },
    async (frontend) => {
      const { migration } = frontend;
      frontend.timeoutMs = 50;
      await assertRejects(
        () => migration.saveDeviceState(),
        RequestTimeoutError,
      );
      await assertRejects(
        () => migration.loadDeviceState(LARGE),
        RequestTimeoutError,
      );
    },
  );
  for (const fd of kept) fd.close();
});
