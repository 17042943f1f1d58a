/**
 * Checks of a network card that hold whatever it is connected to, virtio 1.3
 * §5.1.
 *
 * @module
 */
import { NET_HEADER_SIZE } from "../../testing/net_driver.ts";
import { VHOST_USER_PROTOCOL_F } from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expect, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import { cut, place } from "../layout.ts";
import { testFrame } from "../workload_net.ts";

const CONFIG = "virtio 1.3 §5.1.4";
const SENDING = "virtio 1.3 §5.1.6.2";

/** Feature bits, §5.1.3. */
export const NET_F = {
  MTU: 1n << 3n,
  MAC: 1n << 5n,
  MRG_RXBUF: 1n << 15n,
  MQ: 1n << 22n,
} as const;

function netCheck(
  id: string,
  title: string,
  section: string,
  run: (run: CheckRun) => Promise<void>,
  more: Partial<Check> = {},
): Check {
  return { id, title, section, level: "MUST", devices: ["net"], ...more, run };
}

/** Skips unless the config space holds `size` bytes. */
function needsConfig(run: CheckRun, size: number): void {
  run.needsProtocol(VHOST_USER_PROTOCOL_F.CONFIG, "CONFIG");
  const { byteLength } = run.target.config;
  if (byteLength < size) run.skip("the config space can't be had");
}

/** Sends frames with these headers; the device may drop them. */
function badHeaders(
  id: string,
  title: string,
  headers: readonly (readonly number[])[],
): Check {
  return netCheck(id, title, SENDING, async (run) => {
    const guest = await run.guest();
    for (const header of headers) {
      const bytes = new Uint8Array(NET_HEADER_SIZE + 64);
      bytes.set(header);
      bytes.set(testFrame(7, 64), NET_HEADER_SIZE);
      const at = place(guest.memory, bytes);
      const written = await guest.ring.send(cut(at, [bytes.length], false));
      expectEqual(written, 0, "The used length of a frame that was sent");
    }
    await guest.works();
  }, { hostile: true });
}

/** Sends this many bytes, header included, and goes on. */
function shortFrames(id: string, title: string, sizes: number[]): Check {
  return netCheck(id, title, SENDING, async (run) => {
    const guest = await run.guest();
    for (const size of sizes) {
      const at = place(guest.memory, new Uint8Array(size));
      guest.ring.add(cut(at, [size], false));
      guest.ring.publish();
    }
    await guest.ring.finishAll();
    await guest.works();
  }, { hostile: true });
}

export const NET_CHECKS: readonly Check[] = [
  netCheck("net/mac", "the MAC address is one of a station", CONFIG, (run) => {
    run.needs(NET_F.MAC, "MAC");
    needsConfig(run, 6);
    const mac = run.target.facts.config.subarray(0, 6);
    expect(mac.some((byte) => byte !== 0), "The MAC address is zero");
    expect((mac[0]! & 1) === 0, "The MAC address is one of a group");
    return Promise.resolve();
  }),
  netCheck("net/mtu", "the MTU is 68 at least", CONFIG, (run) => {
    run.needs(NET_F.MTU, "MTU");
    needsConfig(run, 12);
    const mtu = run.target.config.getUint16(10, true);
    expect(mtu >= 68, `The MTU is ${mtu}`);
    return Promise.resolve();
  }),
  netCheck("net/pair-count", "there are 1 to 32768 pairs", CONFIG, (run) => {
    run.needs(NET_F.MQ, "MQ");
    needsConfig(run, 10);
    const pairs = run.target.config.getUint16(8, true);
    expect(pairs >= 1 && pairs <= 0x8000, `max_virtqueue_pairs is ${pairs}`);
    return Promise.resolve();
  }),
  netCheck(
    "net/send-sizes",
    "frames of 60 to 1514 bytes",
    SENDING,
    async (run) => {
      const guest = await run.guest();
      for (const size of [60, 61, 64, 128, 1000, 1513, 1514]) {
        const bytes = new Uint8Array(NET_HEADER_SIZE + size);
        bytes.set(testFrame(size, size), NET_HEADER_SIZE);
        const at = place(guest.memory, bytes);
        const pieces = [NET_HEADER_SIZE, size];
        const written = await guest.ring.send(cut(at, pieces, false));
        expectEqual(written, 0, `The used length of a frame of ${size} bytes`);
      }
    },
  ),
  netCheck(
    "net/send-disabled",
    "what is sent over a disabled ring is taken and dropped",
    "vhost-user, Ring states",
    async (run) => {
      const guest = await run.guest();
      await guest.works();
      await guest.ring.enable(false);
      await guest.works(guest.ring, 5);
    },
  ),
  netCheck(
    "net/pairs",
    "all pairs send",
    "virtio 1.3 §5.1.6.5.6",
    async (run) => {
      const { facts, options } = run.target;
      const rings = Math.min(facts.queueCount, options.queueCount ?? 4) & ~1;
      if (rings < 4) run.skip("there is one pair");
      const guest = await run.guest({ ringCount: rings });
      await Promise.all(
        guest.rings.filter(({ index }) => index % 2 === 1)
          .map((ring) => guest.works(ring, 50)),
      );
    },
  ),
  shortFrames(
    "net/short",
    "frames shorter than their header do not stop the card",
    [1, 5, 11],
  ),
  shortFrames(
    "net/header-only",
    "headers without a frame do not stop the card",
    [12, 13, 25],
  ),
  badHeaders("net/bad-checksum", "a checksum beyond the frame", [
    [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0],
    [1, 0, 0, 0, 0, 0, 14, 0, 0xff, 0xff],
  ]),
  badHeaders("net/bad-offload", "offloads that were not agreed on", [
    [0, 1, 54, 0, 0, 0],
    [0, 1, 0xff, 0xff, 0xff, 0xff],
    [0, 4, 0, 0, 1, 0],
    [0, 0x7f, 0, 0, 0, 0],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  ]),
  netCheck(
    "net/too-long",
    "a frame of 128 KiB does not stop the card",
    SENDING,
    async (run) => {
      const guest = await run.guest();
      const at = guest.memory.allocate(128 << 10);
      await guest.ring.send(cut(at, [128 << 10], false));
      await guest.works();
    },
    { hostile: true },
  ),
];
