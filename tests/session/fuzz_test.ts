/**
 * Random messages, from almost right to nonsense. Each is answered exactly
 * once, the back-end is never asked for what makes no sense (the fake one
 * insists), and nothing is left. Repeat a run with RINGSIDE_SEED.
 */
import { assertEquals } from "@std/assert";
import { SCM_MAX_FD } from "../../src/ffi/abi.ts";
import type { Fd } from "../../src/io/fd.ts";
import { Prng } from "../../src/testing/prng.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import { HANDLERS } from "../../src/vhost_user/handlers.ts";
import {
  encodeConfig,
  encodeMemoryTable,
  type MemoryRegion,
  singleMemoryRegion,
  vringAddress,
  vringState,
} from "../../src/vhost_user/message.ts";
import {
  protocolBit,
  requestName,
  VHOST_USER,
  VHOST_USER_NEED_REPLY_MASK,
} from "../../src/vhost_user/protocol.ts";
import {
  GUEST_ADDRESS,
  MEMORY_SIZE,
  number64,
  ringAddress,
  type Stage,
  stageTest,
  USER_ADDRESS,
  VERSION_1,
  withStage,
} from "./harness.ts";

const NUMBERS = [0, 1, 2, 3, 4, 16, 255, 256, 257, 1024, 65535, 65536, 2 ** 31];
const REQUESTS = HANDLERS.map((row) => row.request)
  // With REPLY_ACK gone nothing would be answered any more.
  .filter((request) => request !== VHOST_USER.SET_PROTOCOL_FEATURES);

function region(random: Prng): MemoryRegion {
  const shift = random.pick([0, 0, 1, 2, 3, 0.5]) * MEMORY_SIZE;
  return {
    guestAddress: GUEST_ADDRESS + shift,
    size: random.pick([MEMORY_SIZE, MEMORY_SIZE, 4096, 0, 2 ** 53]),
    userAddress: USER_ADDRESS + shift,
    mmapOffset: random.pick([0, 0, 0, 4096, 1]),
  };
}

/** A payload that `request` may like. */
function payloadOf(random: Prng, request: number): Uint8Array {
  const index = random.pick([0, 0, 0, 1, 1, 2, 3, 4, 2 ** 32 - 1]);
  switch (request) {
    case VHOST_USER.SET_FEATURES:
      return number64(VERSION_1 | (random.oneIn(2) ? 1n << 30n : 0n));
    case VHOST_USER.SET_STATUS:
      return number64(BigInt(random.pick([15, 15, 15, 7, 256, 0])));
    case VHOST_USER.SET_MEM_TABLE:
      return encodeMemoryTable(
        Array.from({ length: 1 + random.below(3) }, () => region(random)),
      );
    case VHOST_USER.ADD_MEM_REG:
    case VHOST_USER.REM_MEM_REG:
      return singleMemoryRegion.encode(region(random));
    case VHOST_USER.SET_VRING_ADDR:
      return vringAddress.encode({
        index,
        flags: random.oneIn(8) ? 1 : 0,
        log: 0,
        ...ringAddress(random.below(4)),
      });
    case VHOST_USER.SET_VRING_KICK:
    case VHOST_USER.SET_VRING_CALL:
    case VHOST_USER.SET_VRING_ERR:
      return number64(BigInt(index) | (random.oneIn(4) ? 0x100n : 0n));
    case VHOST_USER.GET_CONFIG:
    case VHOST_USER.SET_CONFIG:
      return encodeConfig(random.below(8), 0, new Uint8Array(random.below(4)));
    case VHOST_USER.SET_VRING_ENABLE:
      return vringState.encode({ index, num: random.pick([1, 1, 0, 2]) });
    default: {
      const row = HANDLERS.find((row) => row.request === request);
      if (row?.size.max !== 8) return new Uint8Array(row?.size.min ?? 8);
      return vringState.encode({ index, num: random.pick(NUMBERS) });
    }
  }
}

/** As many descriptors as `request` wants, mostly. */
function fdsOf(
  random: Prng,
  request: number,
  payload: Uint8Array,
  supply: readonly Fd[],
): Fd[] {
  const rule = HANDLERS.find((row) => row.request === request)?.fds ?? 0;
  let count = random.oneIn(12) ? random.below(5) : 0;
  if (rule === 1) count ||= 1;
  else if (rule === "regions") count ||= Math.min(payload[0]!, SCM_MAX_FD);
  else if (rule === "vring") count = payload[1]! & 1 ? 0 : 1;
  const [memory, event] = [supply[0]!, supply[1]!];
  const usual = rule === "vring" ? event : memory;
  return Array.from(
    { length: count },
    () => random.oneIn(10) ? random.pick(supply) : usual,
  );
}

/** By chance alone hardly any ring would start. */
async function tryRing(
  { frontend, region }: Stage,
  random: Prng,
  supply: Fd[],
): Promise<void> {
  const [memory, event] = [supply[0]!, supply[1]!];
  try {
    if (random.oneIn(2)) await frontend.setMemTable([region(0, memory)]);
    if (random.oneIn(2)) await frontend.setFeatures(VERSION_1 | (1n << 30n));
    const index = random.below(4);
    await frontend.setVring(index, {
      ...ringAddress(index),
      size: 256,
      kick: event,
      call: event,
    });
  } catch (error) {
    if (!(error instanceof NackError)) throw error;
  }
}

async function step(stage: Stage, random: Prng, supply: Fd[]): Promise<void> {
  const { frontend, backend } = stage;
  backend.failing.clear();
  if (random.oneIn(25)) {
    backend.failing.add(
      random.pick(["startVring", "enableVring", "setCall", "setFeatures"]),
    );
  }
  if (random.oneIn(12)) return await tryRing(stage, random, supply);
  const request = random.oneIn(40) ? random.below(60) : random.pick(REQUESTS);
  if (request === VHOST_USER.SET_PROTOCOL_FEATURES) return;
  let payload = payloadOf(random, request);
  if (random.oneIn(15)) payload = random.fill(payload);
  if (random.oneIn(30)) payload = payload.slice(random.below(4));
  const fds = fdsOf(random, request, payload, supply);
  await frontend.send(request, payload, fds, VHOST_USER_NEED_REPLY_MASK);
  const reply = await frontend.receive();
  const name = requestName(request);
  assertEquals(
    [reply?.request, reply?.flags, reply?.fds],
    [request, 5, []],
    name,
  );
}

Deno.test("random messages are answered, each once, and leave nothing", async () => {
  const random = Prng.fromEnvironment("session fuzz");
  let started = 0;
  for (let round = 0; round < 60; round++) {
    await withStage(async (stage) => {
      const supply = [stage.memfd(3 * MEMORY_SIZE), stage.eventFd()];
      const features = await stage.frontend.getProtocolFeatures();
      await stage.frontend.setProtocolFeatures(features);
      if (random.oneIn(2)) await stage.ready();
      for (let i = 0; i < 150; i++) await step(stage, random, supply);
      started += stage.backend.calls
        .filter((call) => call.startsWith("startVring")).length;
      await stage.alive();
    });
  }
  console.log(`${started} rings started`);
  // It would be no test of rings if hardly any had started.
  assertEquals(started > 100, true, `only ${started} rings started`);
});

stageTest("random bytes end the session, and leave nothing", async (stage) => {
  const random = Prng.fromEnvironment("session garbage");
  await stage.frontend.setProtocolFeatures(protocolBit(3));
  const garbage = random.fill(new Uint8Array(4096));
  // No header starts with a version of 0.
  garbage[4] = 0;
  await stage.frontend.sendRaw(garbage, [stage.eventFd(), stage.memfd()]);
  assertEquals((await stage.ended).kind, "protocol");
});
