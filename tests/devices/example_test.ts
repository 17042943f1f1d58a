/**
 * The test of the example of docs/adding_a_device.md.
 *
 * @module
 */
import { FakeDriver, RING_KINDS } from "@ringside/ringside/testing";
import { assertEquals } from "@std/assert";
import { entropy } from "./example_device.ts";

for (const kind of RING_KINDS) {
  Deno.test(`entropy fills what there is room for (${kind.name})`, async () => {
    const given = { "max-bytes": 100 };
    await using fake = await FakeDriver.open(entropy, given, { kind });
    const [long, short, none] = await Promise.all([
      fake.request([{ room: 4096 }]),
      fake.request([{ room: 15 }], { writable: [7, 8], indirect: true }),
      fake.request([{ bytes: new Uint8Array(4096) }]),
    ]);
    assertEquals([long.written, short.written, none.written], [100, 15, 0]);
    assertEquals(long.bytes().length, 100);
  });

  Deno.test(`entropy outlives a broken table (${kind.name})`, async () => {
    await using fake = await FakeDriver.open(entropy, {}, { kind });
    const { ring, requests, queue } = fake.rings[0]!;
    const request = requests.stage([{ room: 64 }], { indirect: true });
    ring.amend(request.head, 0, { size: 7 });
    requests.publish();
    assertEquals((await requests.answer(request)).written, 0);
    assertEquals((await fake.request([{ room: 64 }])).written, 64);
    assertEquals([queue.malformed, queue.broken], [1, ""]);
  });
}
