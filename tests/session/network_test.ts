/**
 * The requests that only network devices have.
 */
import { assertEquals } from "@std/assert";
import { u64 } from "../../src/vhost_user/message.ts";
import {
  protocolBits,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { type FakeBackend, stageTest } from "./harness.ts";

const { NET_MTU, RARP, REPLY_ACK } = VHOST_USER_PROTOCOL_F;
const BITS = protocolBits([NET_MTU, RARP]);
const ALL = protocolBits([NET_MTU, RARP, REPLY_ACK]);

const told: unknown[] = [];

/** Gives the back-end what a network device has. */
function network(backend: FakeBackend): void {
  told.length = 0;
  Object.assign(backend, {
    setMtu(mtu: number): Promise<void> {
      told.push(mtu);
      return mtu === 1000 ? Promise.reject(new Error("No")) : Promise.resolve();
    },
    announce(mac: Uint8Array): Promise<void> {
      told.push([...mac]);
      return Promise.resolve();
    },
  });
}

stageTest("a device without MTU and RARP offers neither", async (stage) => {
  const offered = await stage.frontend.getProtocolFeatures();
  assertEquals(offered & BITS, 0n);
  await stage.frontend.negotiate();
  await stage.refused(stage.frontend.setProtocolFeatures(BITS));
});

stageTest("NET_SET_MTU reaches the device, in its limits", async (stage) => {
  const { frontend } = stage;
  await frontend.negotiate({ protocolFeatures: ALL });
  assertEquals(frontend.protocolFeatures, ALL);
  const set = (value: bigint) =>
    frontend.command(VHOST_USER.NET_SET_MTU, u64.encode({ value }));
  for (const mtu of [68n, 1500n, 65535n]) await set(mtu);
  for (const mtu of [0n, 67n, 65536n, 1n << 32n, (1n << 64n) - 1n]) {
    await stage.refused(set(mtu));
  }
  assertEquals(told, [68, 1500, 65535]);
  await stage.refused(set(1000n));
}, network);

stageTest("SEND_RARP reaches the device with its address", async (stage) => {
  const { frontend } = stage;
  await frontend.negotiate({ protocolFeatures: ALL });
  const payload = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3, 0xff, 0xff);
  await frontend.command(VHOST_USER.SEND_RARP, payload);
  assertEquals(told, [[0x52, 0x54, 0, 1, 2, 3]]);
}, network);

stageTest("both are refused where they were not negotiated", async (stage) => {
  const { frontend } = stage;
  await frontend.negotiate();
  const value = u64.encode({ value: 1500n });
  await stage.refused(frontend.command(VHOST_USER.NET_SET_MTU, value));
  await stage.refused(frontend.command(VHOST_USER.SEND_RARP, value));
  assertEquals(told, []);
}, network);
