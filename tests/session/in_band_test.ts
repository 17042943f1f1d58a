/** In-band notifications: kicks, calls and errors as messages. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EAGAIN } from "../../src/ffi/abi.ts";
import { clearEventFd, signalEventFd } from "../../src/io/event_fd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { WANTED_PROTOCOL_FEATURES } from "../../src/vhost_user/frontend.ts";
import {
  encodeMessage,
  header,
  u64,
  vringState,
} from "../../src/vhost_user/message.ts";
import {
  protocolBit,
  VHOST_USER,
  VHOST_USER_BACKEND,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import {
  fullAddress,
  openFds,
  ringAddress,
  type Stage,
  stageTest,
} from "./harness.ts";

const { VRING_CALL, VRING_ERR } = VHOST_USER_BACKEND;
const IN_BAND = protocolBit(VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS);
const REPLY_ACK = protocolBit(VHOST_USER_PROTOCOL_F.REPLY_ACK);
const BACKEND_REQ = protocolBit(VHOST_USER_PROTOCOL_F.BACKEND_REQ);

/** A test of a session that offers in-band notifications. */
function inBandTest(name: string, body: (stage: Stage) => Promise<void>): void {
  stageTest(name, body, (backend) => backend.inBand = true);
}

/** The second socket, as a front-end sees it. */
class Ear {
  readonly #stage: Stage;
  readonly #socket: UnixSocket;

  constructor(stage: Stage, socket: UnixSocket) {
    this.#stage = stage;
    this.#socket = socket;
  }

  /** Opens it. */
  static async open(stage: Stage): Promise<Ear> {
    const [ours, theirs] = UnixSocket.pair();
    stage.own(ours);
    const request = VHOST_USER.SET_BACKEND_REQ_FD;
    await stage.frontend.command(request, undefined, [theirs.fd]);
    theirs[Symbol.dispose]();
    return new Ear(stage, ours);
  }

  /** The next notice: its request and its vring. It is to be answered. */
  async next(): Promise<[request: number, index: number]> {
    const bytes = new Uint8Array(20);
    for (let done = 0; done < bytes.length;) {
      const { size } = this.#socket.receive(bytes.subarray(done));
      assert(size !== 0, "the second socket was closed");
      if (size > 0) done += size;
      else await this.#stage.reactor.readable(this.#socket.fd.number);
    }
    const { request, flags, size } = header.decode(bytes);
    assertEquals([flags, size], [0x9, 8]);
    const { index, num } = vringState.decode(bytes.subarray(12));
    assertEquals(num, 0);
    return [request, index];
  }

  /** Answers the last one. */
  answer(request: number): void {
    const payload = u64.encode({ value: 0n });
    this.#socket.send(encodeMessage(request, 0x5, payload));
  }

  /** Nothing is there, after all that was sent to the session. */
  async isSilent(): Promise<void> {
    await this.#stage.alive();
    assertEquals(this.#socket.receive(new Uint8Array(64)).size, -EAGAIN);
  }
}

/** Negotiates in-band notifications, and opens the second socket. */
async function ready(stage: Stage): Promise<Ear> {
  const protocolFeatures = WANTED_PROTOCOL_FEATURES | IN_BAND;
  await stage.frontend.negotiate({ protocolFeatures });
  await stage.frontend.setMemTable([stage.region()]);
  return await Ear.open(stage);
}

/** Sets vring `index` up, which is to be started by VRING_KICK. */
async function setUp({ frontend }: Stage, index: number): Promise<void> {
  await frontend.setVring(index, { ...ringAddress(index), size: 256 });
}

inBandTest(
  "INBAND_NOTIFICATIONS is offered where the back-end wants it, and not else",
  async (stage) => {
    const offered = await stage.frontend.getProtocolFeatures();
    assertEquals(offered & IN_BAND, IN_BAND);
    stage.backend.inBand = false;
    assertEquals(await stage.frontend.getProtocolFeatures(), offered ^ IN_BAND);
  },
);

for (
  const [name, features] of [
    ["BACKEND_REQ", REPLY_ACK],
    ["REPLY_ACK", BACKEND_REQ],
  ] as const
) {
  inBandTest(
    `INBAND_NOTIFICATIONS without ${name} ends the session, asked or not`,
    async (stage) => {
      // An acknowledgement was asked for, and is no answer to that.
      await stage.frontend.setProtocolFeatures(REPLY_ACK);
      const request = VHOST_USER.SET_PROTOCOL_FEATURES;
      const payload = u64.encode({ value: IN_BAND | features });
      await stage.frontend.send(request, payload, [], 8);
      assertStringIncludes(await stage.broken(), "INBAND_NOTIFICATIONS came");
    },
  );
}

inBandTest(
  "VRING_KICK starts a ring, and kicks the data plane each time",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await setUp(stage, 1);
    assertEquals(backend.rings.size, 0, "nothing started it yet");
    await frontend.vringKick(1);
    const { kickFd, enabled } = backend.rings.get(1)!.start;
    assertEquals(enabled, true);
    assertEquals(clearEventFd(kickFd), 1, "the kick is there to be seen");
    await frontend.vringKick(1);
    await frontend.vringKick(1);
    assertEquals(clearEventFd(kickFd), 2);
    assertEquals(backend.calls.filter((call) => /start/.test(call)).length, 1);
  },
);

inBandTest(
  "VRING_KICK before the ring is set up is not lost",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.vringKick(0);
    assertEquals(backend.rings.size, 0);
    await setUp(stage, 0);
    assertEquals(clearEventFd(backend.rings.get(0)!.start.kickFd), 1);
  },
);

inBandTest(
  "[C56] VRING_KICK after GET_VRING_BASE goes on at that base",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await setUp(stage, 0);
    await frontend.vringKick(0);
    backend.done.set(0, 5);
    assertEquals(await frontend.getVringBase(0), 5);
    assertEquals(backend.rings.size, 0);
    await frontend.vringKick(0);
    assertEquals(backend.rings.get(0)!.start.base, 5);
  },
);

inBandTest(
  "an eventfd is preferred to VRING_KICK, which works as well",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    const kick = stage.eventFd();
    await frontend.setVring(0, { ...ringAddress(0), size: 256, kick });
    await frontend.vringKick(0);
    assertEquals(clearEventFd(kick.number), 1, "the front-end's own one");
    await frontend.getVringBase(0);
    await frontend.setVring(0, { ...ringAddress(0), size: 256, kick: null });
    await frontend.vringKick(0);
    assertEquals(backend.rings.get(0)!.start.kickFd, -1, "it is polled");
  },
);

inBandTest(
  "[H06] VRING_KICK of no vring, or with a number, is refused",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    for (const index of [4, 255, 0x100, 0xffff_ffff]) {
      await stage.refused(frontend.vringKick(index));
    }
    const payload = vringState.encode({ index: 0, num: 1 });
    await stage.refused(frontend.command(VHOST_USER.VRING_KICK, payload));
    await setUp(stage, 0);
    assertEquals(backend.rings.size, 0);
  },
);

inBandTest("VRING_CALL and VRING_ERR are told as they come", async (stage) => {
  const ear = await ready(stage);
  await setUp(stage, 2);
  await stage.frontend.vringKick(2);
  const { callFd, errFd } = stage.backend.rings.get(2)!.start;
  await ear.isSilent();
  signalEventFd(callFd);
  assertEquals(await ear.next(), [VRING_CALL, 2]);
  ear.answer(VRING_CALL);
  signalEventFd(errFd);
  assertEquals(await ear.next(), [VRING_ERR, 2]);
  ear.answer(VRING_ERR);
  signalEventFd(callFd);
  assertEquals(await ear.next(), [VRING_CALL, 2]);
});

inBandTest(
  "[H20] calls while the last VRING_CALL is unanswered become one more",
  async (stage) => {
    const ear = await ready(stage);
    for (const index of [0, 1]) {
      await setUp(stage, index);
      await stage.frontend.vringKick(index);
    }
    const { callFd } = stage.backend.rings.get(0)!.start;
    signalEventFd(callFd);
    assertEquals(await ear.next(), [VRING_CALL, 0]);
    for (let i = 0; i < 1000; i++) {
      signalEventFd(callFd);
      if (i % 10 === 0) await stage.alive();
    }
    await ear.isSilent();
    // One ring does not wait for the answer of another.
    signalEventFd(stage.backend.rings.get(1)!.start.callFd);
    assertEquals(await ear.next(), [VRING_CALL, 1]);
    ear.answer(VRING_CALL);
    assertEquals(await ear.next(), [VRING_CALL, 0]);
    ear.answer(VRING_CALL);
    ear.answer(VRING_CALL);
    await ear.isSilent();
  },
);

inBandTest(
  "SET_VRING_CALL: an eventfd is preferred to VRING_CALL, bit 8 wants neither",
  async (stage) => {
    const { frontend, backend } = stage;
    const ear = await ready(stage);
    await setUp(stage, 0);
    await frontend.vringKick(0);
    const { start } = backend.rings.get(0)!;
    const inBand = start.callFd;
    signalEventFd(inBand);
    const call = stage.eventFd();
    await frontend.setVringCall(0, call);
    // What was signalled before is told, and closed after that.
    assertEquals(await ear.next(), [VRING_CALL, 0]);
    ear.answer(VRING_CALL);
    assert(start.callFd !== inBand);
    signalEventFd(start.callFd);
    assertEquals(clearEventFd(call.number), 1);
    await frontend.setVringCall(0, null);
    assertEquals(start.callFd, -1, "the driver polls");
    await ear.isSilent();
    await frontend.getVringBase(0);
    await frontend.vringKick(0);
    signalEventFd(backend.rings.get(0)!.start.callFd);
    assertEquals(await ear.next(), [VRING_CALL, 0], "as if nothing was said");
  },
);

inBandTest(
  "SET_VRING_ERR: an eventfd is preferred to VRING_ERR, bit 8 takes it back",
  async (stage) => {
    const { frontend, backend } = stage;
    const ear = await ready(stage);
    const err = stage.eventFd();
    await frontend.setVringErr(0, err);
    await setUp(stage, 0);
    await frontend.vringKick(0);
    const { start } = backend.rings.get(0)!;
    signalEventFd(start.errFd);
    assertEquals(clearEventFd(err.number), 1);
    await frontend.setVringErr(0, null);
    signalEventFd(start.errFd);
    assertEquals(await ear.next(), [VRING_ERR, 0]);
  },
);

inBandTest(
  "a call of a ring that stops is told before the answer",
  async (stage) => {
    const { frontend, backend } = stage;
    const ear = await ready(stage);
    await setUp(stage, 0);
    await frontend.vringKick(0);
    const { callFd } = backend.rings.get(0)!.start;
    const drained = Promise.withResolvers<void>();
    backend.draining = drained.promise;
    const stopping = backend.when("stopVring 0");
    const base = frontend.getVringBase(0);
    await stopping;
    signalEventFd(callFd);
    drained.resolve();
    await base;
    assertEquals(await ear.next(), [VRING_CALL, 0]);
    ear.answer(VRING_CALL);
    await ear.isSilent();
  },
);

inBandTest(
  "[H20] what nobody heard is told on the next channel",
  async (stage) => {
    const { frontend, backend } = stage;
    const protocolFeatures = WANTED_PROTOCOL_FEATURES | IN_BAND;
    await frontend.negotiate({ protocolFeatures });
    await frontend.setMemTable([stage.region()]);
    for (const index of [0, 1]) {
      await setUp(stage, index);
      await frontend.vringKick(index);
    }
    signalEventFd(backend.rings.get(0)!.start.callFd);
    signalEventFd(backend.rings.get(1)!.start.errFd);
    for (let i = 0; i < 10; i++) await stage.alive();
    const deaf = await Ear.open(stage);
    const told = [await deaf.next(), await deaf.next()].sort();
    assertEquals(told, [[VRING_CALL, 0], [VRING_ERR, 1]]);
    // It never answers: another one is asked.
    const ear = await Ear.open(stage);
    assertEquals([await ear.next(), await ear.next()].sort(), told);
  },
);

inBandTest(
  "[H20] a front-end that leaves with notices unheard leaves nothing",
  async (stage) => {
    const before = openFds().length;
    await ready(stage);
    for (const index of [0, 1, 2, 3]) {
      await setUp(stage, index);
      await stage.frontend.vringKick(index);
      signalEventFd(stage.backend.rings.get(index)!.start.callFd);
    }
    assert(openFds().length > before + 12);
    await stage.frontend.resetDevice();
    stage.frontend[Symbol.dispose]();
    assertEquals((await stage.ended).kind, "hang-up");
  },
);

inBandTest(
  "without INBAND_NOTIFICATIONS rings are polled and nobody is told",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    const ear = await Ear.open(stage);
    await frontend.setVringNum(0, 256);
    await frontend.setVringAddr(fullAddress(0));
    await stage.refused(frontend.vringKick(0));
    await frontend.setVringKick(0, null);
    const { kickFd, callFd, errFd } = backend.rings.get(0)!.start;
    assertEquals([kickFd, callFd, errFd], [-1, -1, -1]);
    await ear.isSilent();
  },
);
