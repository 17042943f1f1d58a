/**
 * Hostile states of a device, for a real process: after each the disk serves on
 * as it was, and nothing is left of it.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { SystemError } from "../../src/errors.ts";
import { EPIPE } from "../../src/ffi/abi.ts";
import { ByteStream } from "../../src/io/byte_stream.ts";
import { Reactor } from "../../src/io/reactor.ts";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import { Prng } from "../../src/testing/prng.ts";
import { deviceStateTransfer } from "../../src/vhost_user/message.ts";
import {
  MAX_DEVICE_STATE_SIZE,
  VHOST_USER,
} from "../../src/vhost_user/protocol.ts";
import {
  PLANES,
  readsRight,
  refused,
  withTarget,
} from "./support/hostile_target.ts";
import { MOVING_FEATURES } from "./support/home.ts";

const OPTIONS = { protocolFeatures: MOVING_FEATURES };
const CONFIG_SIZE = 60;

/** Does `act` while no ring runs; the disk is the same afterwards. */
async function whileStopped(
  disk: BlockConnection,
  act: () => Promise<void>,
): Promise<void> {
  const { frontend } = disk;
  const before = await frontend.getConfig(0, CONFIG_SIZE);
  const bases = [
    await frontend.getVringBase(0),
    await frontend.getVringBase(1),
  ];
  await act();
  assertEquals(await frontend.getConfig(0, CONFIG_SIZE), before);
  for (const [index, base] of bases.entries()) await disk.restart(index, base);
  await readsRight(disk, 0);
}

/** Writes far more than any state has, until nobody reads on. */
async function overwhelm(disk: BlockConnection): Promise<void> {
  const { reading, writing } = ByteStream.pipe();
  using stream = new ByteStream(writing, Reactor.main);
  await disk.frontend.migration.setDeviceStateFd("load", reading);
  reading.close();
  const bytes = new Uint8Array(MAX_DEVICE_STATE_SIZE + (1 << 20));
  const error = await assertRejects(() => stream.writeAll(bytes), SystemError);
  assertEquals(error.errno, EPIPE);
}

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H19] states that are none change nothing, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("states that are none", async (disk) => {
          const { migration } = disk.frontend;
          const prng = Prng.fromEnvironment("States");
          await whileStopped(disk, async () => {
            const state = await migration.saveDeviceState();
            for (let round = 0; round < 40; round++) {
              const bad = state.slice(0, prng.below(state.length));
              await refused(disk, migration.loadDeviceState(bad));
              const noise = prng.fill(new Uint8Array(prng.below(4096)));
              await refused(disk, migration.loadDeviceState(noise));
            }
            await overwhelm(disk);
            await refused(disk, migration.checkDeviceState());
            await migration.loadDeviceState(state);
          });
          await refused(disk, migration.saveDeviceState());
        }, OPTIONS),
    ));

  Deno.test(`[H19] transfers that are left alone leave nothing, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const direction of [0, 1]) {
        await target.outlives(`transfer ${direction}`, async (disk) => {
          const { frontend } = disk;
          for (const index of [0, 1]) await frontend.getVringBase(index);
          // One after the other takes the place of the last, and none ends.
          for (let i = 0; i < 200; i++) {
            const { reading, writing } = ByteStream.pipe();
            using _reading = reading;
            using _writing = writing;
            await frontend.request(
              VHOST_USER.SET_DEVICE_STATE_FD,
              deviceStateTransfer.encode({ direction, phase: 0 }),
              [direction === 0 ? writing : reading],
            );
          }
        }, OPTIONS);
      }
    }));
}
