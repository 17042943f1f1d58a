/**
 * Hostile drivers of the entropy device, in real shared memory of a real
 * process: after each the device serves on, and nothing is left of it.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { libc } from "../../src/ffi/libc.ts";
import { Reactor } from "../../src/io/reactor.ts";
import type { DriverSegment } from "../../src/testing/ring_driver.ts";
import {
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";
import type { BackEnd } from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";
import { Entropy } from "./support/entropy.ts";
import { PATIENCE_MS, PLANES } from "./support/hostile_target.ts";
import { type DeviceEntry, Several } from "./support/several.ts";

const KIB = 1024;
const GIB = 2 ** 30;
/** What one request gets at most. */
const SHARE = 64 * KIB;
/** Where a region of 1 GiB is, of which little is touched. */
const HUGE_AT = 0x1_0000_0000;
const REGIONS = [
  { guestAddress: 0x1_0000, size: 4 << 20 },
  { guestAddress: HUGE_AT, size: GIB, shrinkable: true },
];

interface Case {
  what: string;
  act(rng: Entropy): Promise<void>;
}

/** Sends one request, and takes it back. */
async function written(
  rng: Entropy,
  segments: readonly DriverSegment[],
): Promise<number> {
  const request = rng.driver.ask(segments);
  const { requests } = rng.driver;
  return (await withDeadline(requests.answer(request), PATIENCE_MS)).written;
}

const CASES: readonly Case[] = [
  {
    what: "a request of no bytes",
    async act(rng) {
      const address = rng.connection.memory.allocate(64);
      assertEquals(
        await written(rng, [{ address, size: 0, writable: true }]),
        0,
      );
      assertEquals(
        await written(rng, [{ address, size: 64, writable: false }]),
        0,
      );
    },
  },
  {
    what: "a request of 1 GiB",
    async act(rng) {
      const { memory } = rng.connection;
      const all = { address: HUGE_AT, size: GIB, writable: true };
      assertEquals(await written(rng, [all]), SHARE);
      assert(memory.read(HUGE_AT, SHARE).some((byte) => byte !== 0));
      const behind = memory.read(HUGE_AT + SHARE, SHARE);
      assert(behind.every((byte) => byte === 0), "More was written than told");
    },
  },
  {
    what: "a full ring of requests of 1 GiB",
    async act(rng) {
      const all = { address: HUGE_AT, size: GIB, writable: true };
      const count = rng.port.ring.size;
      const requests = Array.from(
        { length: count },
        () => rng.driver.ask([all]),
      );
      await withDeadline(
        rng.driver.requests.answer(requests.at(-1)!),
        PATIENCE_MS,
      );
      assert(requests.every(({ written }) => written === SHARE));
    },
  },
  {
    what: "addresses outside of memory",
    async act(rng) {
      const size = 64;
      for (
        const address of [
          0,
          HUGE_AT + GIB - 32,
          0xffff_ffff_ffff_fff0n,
          2n ** 63n,
        ]
      ) {
        assertEquals(
          await written(rng, [{ address, size, writable: true }]),
          0,
        );
      }
    },
  },
  {
    what: "a chain that loops",
    async act(rng) {
      const { ring } = rng.port;
      const address = rng.connection.memory.allocate(64);
      const head = ring.add([{ address, size: 64, writable: true }]);
      asSplit(ring).rawDescriptor(head, {
        address,
        size: 64,
        flags: VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT,
        next: head,
      });
      ring.publish();
      rng.port.kick();
      let used = ring.nextUsed();
      while (used === null) {
        if (!ring.armInterrupt()) {
          await withDeadline(rng.port.called(), PATIENCE_MS);
        }
        used = ring.nextUsed();
      }
      assertEquals(used, { head, written: 0 });
    },
  },
  {
    what: "bytes on top of the ring itself",
    async act(rng) {
      // The available index is random then: the ring breaks, or what is in it
      // is served. Whichever it is, it is this ring's business only.
      const address = rng.port.ring.driverArea;
      rng.driver.ask([{ address, size: 4, writable: true }]);
      rng.port.kick();
      await rng.stop();
    },
  },
  {
    what: "memory that is truncated under requests",
    async act(rng) {
      const end = HUGE_AT + GIB;
      const { fd } = rng.connection.memory.regions[1]!;
      assertEquals(libc.ftruncate(fd!.number, BigInt(GIB / 2)), 0);
      const lost = { address: end - 4096, size: 4096, writable: true };
      assertEquals(await written(rng, [lost]), 0);
      const half = HUGE_AT + GIB / 2 - 4096;
      assertEquals(
        await written(rng, [{ address: half, size: 8192, writable: true }]),
        4096,
      );
    },
  },
];

function single(plane: string, options: Partial<DeviceEntry> = {}): Several {
  const device = { device: "rng", name: "rng", ...options } as DeviceEntry;
  return new Several([device], plane);
}

/** A session in which all is as it should be. */
async function serves(several: Several): Promise<void> {
  using rng = await Entropy.open(several.socketPath("rng"));
  await rng.serves();
}

async function ends(backEnd: BackEnd): Promise<void> {
  const status = await backEnd.stop();
  assertEquals([status.code, status.signal], [0, null], backEnd.log);
  await Reactor.main.idle();
}

for (const plane of PLANES) {
  for (const { what, act } of CASES) {
    Deno.test(`[H29] ${what} hurts nobody, on the ${plane} plane`, async () => {
      using several = single(plane);
      await using backEnd = await several.start();
      await serves(several);
      await withDeadline(says(backEnd, "the front-end left"), PATIENCE_MS);
      const before = backEnd.holdings();
      {
        using rng = await Entropy.open(several.socketPath("rng"), {
          memory: REGIONS,
          queueSize: 16,
        });
        await act(rng);
      }
      await serves(several);
      await backEnd.settle(before);
      await ends(backEnd);
    });
  }

  Deno.test(`[C68] a ring whose requests wait for the budget stops at once and goes on, on the ${plane} plane`, async () => {
    using several = single(plane, { "max-bytes": 100, "period": 3_600_000 });
    await using backEnd = await several.start();
    {
      using rng = await Entropy.open(several.socketPath("rng"));
      const requests = [0, 1, 2, 3].map(() => rng.driver.ask([64]));
      await rng.driver.requests.answer(requests[0]!);
      await rng.driver.requests.answer(requests[1]!);
      assertEquals(await rng.stop(), 2);
      rng.driver.requests.collect();
      assertEquals(requests.map(({ written }) => written), [64, 36, -1, -1]);
      await rng.connection.start(0, 2);
      assertEquals(await rng.stop(), 2);
      await rng.connection.start(0, 2);
      // Nor does the end of the process wait for them.
      await ends(backEnd);
    }
  });

  Deno.test(`[C68] a budget that is renewed serves all, and no more than it has, on the ${plane} plane`, async () => {
    using several = single(plane, { "max-bytes": 100, "period": 2 });
    await using backEnd = await several.start();
    {
      using rng = await Entropy.open(several.socketPath("rng"));
      const requests = Array.from({ length: 60 }, () => rng.driver.ask([64]));
      const start = performance.now();
      const last = rng.driver.requests.answer(requests.at(-1)!);
      await withDeadline(last, PATIENCE_MS);
      const periods = Math.floor((performance.now() - start) / 2) + 2;
      const sizes = requests.map(({ written }) => written);
      assert(sizes.every((size) => size === 64 || size === 36), `${sizes}`);
      const total = sizes.reduce<number>((sum, size) => sum + size, 0);
      assertGreater(total, 60 * 36);
      assert(total <= 100 * periods, `${total} bytes in ${periods} periods`);
    }
    await ends(backEnd);
  });

  Deno.test(`a FIFO that has nothing holds up neither its ring nor the end, on the ${plane} plane`, async () => {
    using several = single(plane, { source: "fifo" });
    const fifo = `${several.directory}/fifo`;
    assertEquals(
      new Deno.Command("mkfifo", { args: [fifo] }).outputSync().code,
      0,
    );
    several.rewrite('"fifo"', JSON.stringify(fifo));
    await using backEnd = await several.start();
    {
      using rng = await Entropy.open(several.socketPath("rng"));
      const request = rng.driver.ask([8]);
      assertEquals(await rng.stop(), 0);
      await rng.connection.start(0, 0);
      using writer = Deno.openSync(fifo, { write: true });
      writer.writeSync(Uint8Array.of(1, 2, 3));
      const answer = rng.driver.requests.answer(request);
      assertEquals((await withDeadline(answer, PATIENCE_MS)).written, 3);
      assertEquals(request.bytes(), Uint8Array.of(1, 2, 3));
      rng.driver.ask([8]);
      await ends(backEnd);
    }
  });
}

/** Resolves once the log says `text`. */
async function says(backEnd: BackEnd, text: string): Promise<void> {
  while (!backEnd.log.includes(text)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
