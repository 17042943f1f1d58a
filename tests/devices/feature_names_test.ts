/**
 * Each feature bit of a device has its name in messages.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import * as block from "../../devices/block/protocol.ts";
import * as net from "../../devices/net/protocol.ts";

for (const [prefix, protocol] of Object.entries({ BLK: block, NET: net })) {
  Deno.test(`every VIRTIO_${prefix}_F has its name`, () => {
    const pattern = new RegExp(`^VIRTIO_${prefix}_F_(.+)`);
    const bits = Object.entries(protocol).flatMap(([name, value]) => {
      const [, short] = pattern.exec(name) ?? [];
      return short === undefined ? [] : [[short, value]];
    });
    assertEquals(protocol.FEATURE_NAMES, Object.fromEntries(bits));
  });
}
