/**
 * VIRTIO_F_NOTIFICATION_DATA: a driver that has it finds no difference, since
 * the kicks of vhost-user carry nothing.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { completeOptions, devices, Server } from "../../mod.ts";
import { VIRTIO_F_NOTIFICATION_DATA } from "../../src/device/features.ts";
import { setLogLevel } from "../../src/log.ts";
import { BlockConnection, RING_KINDS } from "../../src/testing/mod.ts";
import { Frontend, UnixSocket } from "../../src/vhost_user/mod.ts";
import { withDeadline } from "../vm/deadline.ts";

setLogLevel("warn");

const MIB = 1 << 20;
const PATIENCE_MS = 20_000;
const FEATURES = (1n << 32n) | (1n << 28n) | VIRTIO_F_NOTIFICATION_DATA;

for (const kind of RING_KINDS) {
  Deno.test(`NOTIFICATION_DATA makes no difference (${kind.name})`, async () => {
    const [ours, theirs] = UnixSocket.pair();
    const fd = theirs.fd.release();
    const device = await devices.block.open(
      completeOptions(devices.block.options, { "blk-null": MIB }),
    );
    const server = await Server.open("disk", device, {
      fd,
      dataPlane: "inline",
    });
    const served = server.run();
    {
      using disk = await BlockConnection.open(Frontend.fromSocket(ours), {
        features: FEATURES | kind.features,
        memory: MIB,
        timeoutMs: PATIENCE_MS,
      });
      const accepted = disk.features & VIRTIO_F_NOTIFICATION_DATA;
      assertEquals(accepted, VIRTIO_F_NOTIFICATION_DATA);
      const reads = Array.from(
        { length: 200 },
        (_, i) => disk.driver.read(8 * i, 4096),
      );
      const all = await withDeadline(Promise.all(reads), PATIENCE_MS);
      assertEquals(all.every(({ length }) => length === 4096), true);
    }
    await served;
  });
}
