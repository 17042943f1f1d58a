import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FakeDriver } from "./fake_driver.ts";
import { RING_KINDS } from "./ring_kinds.ts";
import { StalledError } from "./ring_request.ts";
import { RngDriver } from "./rng_driver.ts";

for (const kind of RING_KINDS) {
  /** Counts from 0 on, in answers of up to 10 bytes; `most` answers in all. */
  const open = (most = Infinity) => {
    let [next, answers] = [0, 0];
    const fake = FakeDriver.over(() => ({
      drain(queue) {
        while (answers < most && queue.pop()) {
          answers++;
          const { head, writer } = queue.chain;
          const size = Math.min(10, writer.size);
          queue.push(
            head,
            writer.writeBytes(new Uint8Array(size).map(() => next++)),
          );
        }
      },
    }), { kind, queueSize: 8 });
    const [port] = fake.rings;
    return { fake, rng: new RngDriver(fake.memory, port!.ring, port!) };
  };

  Deno.test(`a stream is in the order of its requests (${kind.name})`, async () => {
    const { fake, rng } = open();
    using _fake = fake;
    for (const depth of [1, 4, 100]) {
      const first = (await rng.bytes(1))[0]!;
      const all: number[] = [];
      const layout = { indirect: true };
      for await (const bytes of rng.stream({ size: 16, depth, layout })) {
        all.push(...bytes);
        if (all.length >= 100) break;
      }
      const wanted = all.map((_, i) => (first + 1 + i) & 255);
      assertEquals(all, wanted);
      // What the stream had asked for beyond is given back unread.
      while (rng.requests.outCount > 0) {
        fake.settle();
        rng.requests.collect();
      }
    }
  });

  Deno.test(`a stream that dries up is an error (${kind.name})`, async () => {
    const { fake, rng } = open(3);
    using _fake = fake;
    const sizes: number[] = [];
    const read = async () => {
      for await (const bytes of rng.stream()) sizes.push(bytes.length);
    };
    const error = await assertRejects(read, StalledError);
    assertEquals(error.requests.map(({ what }) => what), ["64 random bytes"]);
    assertEquals(sizes, [10, 10, 10]);
  });

  Deno.test(`requests of any make, as many as fit (${kind.name})`, () => {
    const { fake, rng } = open();
    using _fake = fake;
    const address = fake.memory.allocate(8);
    const asked = [
      rng.ask([1, 2, { room: 3 }]),
      rng.ask([4, 5], { indirect: true }),
      rng.ask([{ bytes: new Uint8Array(4) }, 6]),
      rng.ask([{ address, size: 8, writable: true }]),
    ];
    assertThrows(() => rng.ask([1, 1]), RangeError, "does not fit");
    fake.settle();
    assertEquals(rng.requests.collect(), 4);
    assertEquals(asked.map(({ written }) => written), [6, 9, 6, 8]);
    assertEquals([...asked[1]!.bytes()], [6, 7, 8, 9, 10, 11, 12, 13, 14]);
  });
}
