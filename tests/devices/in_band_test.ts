/**
 * Every device with in-band notifications: on both kinds of rings and both data
 * planes, no eventfd is shared with it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { completeOptions, devices, Server } from "../../mod.ts";
import { setLogLevel } from "../../src/log.ts";
import {
  asSplit,
  BlockConnection,
  Connection,
  type ConnectionOptions,
  NetConnection,
  RING_KINDS,
  RngDriver,
} from "../../src/testing/mod.ts";
import {
  Frontend,
  UnixSocket,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
  vringState,
} from "../../src/vhost_user/mod.ts";
import type { ServerStatus } from "../../src/server/server.ts";
import type { Device } from "../../src/device/mod.ts";
import { withDeadline } from "../vm/deadline.ts";

// A broken ring is what one of these is about.
setLogLevel("error");

const PATIENCE_MS = 20_000;
const MIB = 1 << 20;

/** Serves `device`, and has `body` talk to it. */
async function served(
  device: Device,
  dataPlane: "inline" | "worker",
  body: (frontend: Frontend, server: Server) => Promise<void>,
): Promise<void> {
  const [ours, theirs] = UnixSocket.pair();
  const fd = theirs.fd.release();
  const server = await Server.open("device", device, {
    fd,
    dataPlane,
    inBand: true,
  });
  const ended = server.run();
  const frontend = Frontend.fromSocket(ours);
  try {
    await withDeadline(body(frontend, server), PATIENCE_MS);
  } finally {
    frontend[Symbol.dispose]();
    await ended;
  }
}

/** Rings of a kind, in-band. */
function optionsFor(kind: bigint): ConnectionOptions {
  const features = (1n << 32n) | (1n << 28n) | (1n << 29n) | kind;
  return { inBand: true, features, memory: MIB, timeoutMs: PATIENCE_MS };
}

/** How often the rings called, all together. */
async function callsOf(server: Server): Promise<number> {
  const { rings }: ServerStatus = await server.status();
  return rings.reduce((sum, ring) => sum + (ring.calls ?? 0), 0);
}

for (const dataPlane of ["inline", "worker"] as const) {
  for (const kind of RING_KINDS) {
    const where = `${kind.name}, ${dataPlane}`;

    Deno.test(`a disk with in-band notifications (${where})`, async () => {
      const device = await devices.block.open(
        completeOptions(devices.block.options, { "blk-null": MIB }),
      );
      await served(device, dataPlane, async (frontend, server) => {
        using disk = await BlockConnection.open(frontend, {
          ...optionsFor(kind.features),
          queueCount: 2,
        });
        assert(
          frontend.hasProtocolFeature(
            VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS,
          ),
        );
        for (const { driver } of disk.rings) {
          const reads = Array.from({ length: 40 }, (_, i) => {
            return driver.read(8 * i, 4096);
          });
          for (const bytes of await Promise.all(reads)) {
            assertEquals(bytes.length, 4096);
          }
          await driver.flush();
        }
        assert(await callsOf(server) > 0);
        // Stopped, and kicked on: the first kick starts it anew.
        const base = await frontend.getVringBase(0);
        await disk.restart(0, base);
        assertEquals((await disk.driver.read(0, 512)).length, 512);
      });
    });

    Deno.test(`a card with in-band notifications (${where})`, async () => {
      const device = await devices.net.open(
        completeOptions(devices.net.options, { backend: "loopback" }),
      );
      await served(device, dataPlane, async (frontend) => {
        using net = await NetConnection.open(frontend, {
          ...optionsFor(kind.features),
        });
        // Buffers to receive into need a kick of their own to be seen.
        for (let i = 0; i < 40; i++) {
          const frame = new Uint8Array(60 + i).fill(i);
          await net.driver.send(frame);
          assertEquals((await net.driver.next()).frame, frame);
        }
      });
    });

    Deno.test(`entropy with in-band notifications (${where})`, async () => {
      const device = await devices.rng.open(
        completeOptions(devices.rng.options, {}),
      );
      await served(device, dataPlane, async (frontend) => {
        using guest = await Connection.open(
          frontend,
          optionsFor(kind.features),
        );
        const port = guest.rings[0]!;
        const rng = new RngDriver(guest.memory, port.ring, port);
        let count = 0;
        for await (const bytes of rng.stream({ size: 512, depth: 4 })) {
          count += bytes.length;
          if (count >= 20_000) break;
        }
        assert(count >= 20_000);
      });
    });
  }

  Deno.test(`in-band notifications go on with the next back-end (${dataPlane})`, async () => {
    const open = () =>
      devices.rng.open(completeOptions(devices.rng.options, {}));
    let guest: Connection | null = null;
    await served(await open(), dataPlane, async (frontend) => {
      guest = await Connection.open(frontend, optionsFor(0n));
      const port = guest.rings[0]!;
      const rng = new RngDriver(guest.memory, port.ring, port);
      assertEquals((await rng.bytes(64)).length, 64);
    });
    await served(await open(), dataPlane, async (frontend) => {
      using again = guest!;
      await again.reconnect({ frontend });
      const port = again.rings[0]!;
      const rng = new RngDriver(again.memory, port.ring, port);
      assertEquals((await rng.bytes(64)).length, 64);
    });
  });

  Deno.test(`[H30] a storm of VRING_KICK without requests hurts nobody (${dataPlane})`, async () => {
    const device = await devices.rng.open(
      completeOptions(devices.rng.options, {}),
    );
    await served(device, dataPlane, async (frontend) => {
      using guest = await Connection.open(frontend, optionsFor(0n));
      const port = guest.rings[0]!;
      const rng = new RngDriver(guest.memory, port.ring, port);
      const payload = vringState.encode({ index: 0, num: 0 });
      for (let i = 0; i < 20_000; i++) {
        await frontend.send(VHOST_USER.VRING_KICK, payload);
      }
      assertEquals((await rng.bytes(64)).length, 64);
    });
  });

  Deno.test(`[H20] calls that nobody reads do not hold up a ring (${dataPlane})`, async () => {
    const device = await devices.rng.open(
      completeOptions(devices.rng.options, {}),
    );
    await served(device, dataPlane, async (frontend) => {
      using guest = await Connection.open(frontend, optionsFor(0n));
      const [deaf, theirs] = UnixSocket.pair();
      using _deaf = deaf;
      const request = VHOST_USER.SET_BACKEND_REQ_FD;
      await frontend.command(request, undefined, [theirs.fd]);
      theirs[Symbol.dispose]();
      const { ring } = guest.rings[0]!;
      const address = guest.memory.allocate(64);
      for (let done = 0; done < 2_000; done++) {
        ring.add([{ address, size: 64, writable: true }]);
        if (ring.publish()) await frontend.vringKick(0);
        ring.armInterrupt();
        while (ring.nextUsed() === null) await frontend.getFeatures();
      }
    });
  });

  Deno.test(`VRING_ERR tells that a ring broke (${dataPlane})`, async () => {
    const device = await devices.rng.open(
      completeOptions(devices.rng.options, {}),
    );
    await served(device, dataPlane, async (frontend) => {
      const broken = Promise.withResolvers<number>();
      using guest = await Connection.open(frontend, optionsFor(0n));
      await frontend.listenToBackend({
        vringCall: () => {},
        vringErr: (index) => broken.resolve(index),
      });
      const port = guest.rings[0]!;
      asSplit(port.ring).rawAvailableIndex(10_000);
      port.kick();
      assertEquals(await broken.promise, 0);
      await frontend.getFeatures();
    });
  });
}
