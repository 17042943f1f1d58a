import { assert, assertEquals } from "@std/assert";
import { DriverMemory } from "../testing/driver_memory.ts";
import { Prng } from "../testing/prng.ts";
import { openVirtqueue } from "../virtqueue/open.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import { type LoadRing, type LoadSegment, NONE, UNKNOWN } from "./load_ring.ts";
import { PackedLoadRing } from "./packed_ring.ts";
import { SplitLoadRing } from "./split_ring.ts";

const SLOTS = 5;
/** Buffers of the shapes, in bytes; those below 0 are the device's to write. */
const SHAPES = [[16, -100], [-1], [16, 200, -1]] as const;

interface Rig {
  ring: LoadRing;
  device: Virtqueue;
  memory: DriverMemory;
}

/** A ring of this kind, and the device's end of it. */
function rig(packed: boolean, eventIndex: boolean, indirect: boolean): Rig {
  const memory = DriverMemory.plain(1 << 20);
  const slots = Array.from(
    { length: SLOTS },
    () =>
      SHAPES.map((shape) =>
        shape.map((signed): LoadSegment => {
          const size = Math.abs(signed);
          return { address: memory.allocate(size), size, writable: signed < 0 };
        })
      ),
  );
  const options = { size: 16, slots, eventIndex, indirect };
  const ring = packed
    ? new PackedLoadRing(memory, options)
    : new SplitLoadRing(memory, options);
  const device = openVirtqueue({
    index: 0,
    size: ring.size,
    descriptorArea: ring.descriptorArea,
    driverArea: ring.driverArea,
    deviceArea: ring.deviceArea,
    nextAvail: ring.base,
    packed,
    eventIndex,
    indirect,
  }, memory.guestMemory());
  return { ring, device, memory };
}

/** Every kind of ring, by name. */
function* kinds(): Generator<[string, () => Rig]> {
  for (const packed of [false, true]) {
    for (const eventIndex of [false, true]) {
      for (const indirect of [false, true]) {
        const name = `${packed ? "packed" : "split"}, ` +
          `${eventIndex ? "event index" : "flags"}, ` +
          `${indirect ? "indirect" : "direct"}`;
        yield [name, () => rig(packed, eventIndex, indirect)];
      }
    }
  }
}

for (const [name, make] of kinds()) {
  Deno.test(`slots go out in their shapes and come back in any order: ${name}`, () => {
    const prng = Prng.fromEnvironment(name);
    const { ring, device } = make();
    const out = new Set<number>();
    const held: { head: number; written: number }[] = [];
    let back = 0;
    while (back < 70_000) {
      const shapes: number[] = [];
      for (let slot = 0; slot < SLOTS; slot++) {
        if (out.has(slot) || prng.oneIn(3)) continue;
        const shape = prng.below(SHAPES.length);
        ring.add(slot, shape);
        shapes.push(shape);
        out.add(slot);
      }
      ring.publish();
      for (const shape of shapes) {
        assert(device.pop());
        const { chain } = device;
        const sizes = SHAPES[shape]!;
        const sum = (sign: number) =>
          sizes.reduce((all, size) => all + Math.max(0, sign * size), 0);
        assertEquals(chain.reader.remaining, sum(1));
        assertEquals(chain.writer.remaining, sum(-1));
        held.push({ head: chain.head, written: back % (sum(-1) + 1) });
      }
      assertEquals(device.pop(), false);
      while (held.length > 0 && !prng.oneIn(4)) {
        const at = prng.below(held.length);
        const [{ head, written }] = held.splice(at, 1) as [typeof held[0]];
        device.push(head, written);
        device.flush();
        assert(ring.look());
        const slot = ring.take();
        assert(out.delete(slot), `slot ${slot} was not out`);
        assertEquals(ring.written, written);
        back++;
      }
      assertEquals(ring.look(), false);
      assertEquals(ring.take(), NONE);
    }
    assertEquals([device.broken, device.malformed], ["", 0]);
  });

  Deno.test(`kicks and calls come when they are asked for: ${name}`, () => {
    const { ring, device } = make();
    const answer = (): boolean => {
      assert(device.pop());
      device.push(device.chain.head, 0);
      return device.flush();
    };
    for (let round = 0; round < 40_000; round++) {
      device.disableKicks();
      ring.add(0, 0);
      assertEquals(ring.publish(), false, "a kick that nobody asked for");
      ring.disarm();
      assertEquals(answer(), false, "a call that nobody asked for");
      assertEquals(ring.arm(), true, "what is there is not seen");
      assertEquals(ring.take() + ring.take(), NONE);
      assertEquals(device.enableKicks(), false);
      ring.add(1, 2);
      ring.add(2, 1);
      assertEquals(ring.publish(), true, "no kick");
      assertEquals(ring.publish(), false, "a kick for nothing");
      assertEquals(ring.arm(), false);
      assertEquals(answer(), true, "no call");
      assert(ring.look());
      assertEquals(ring.take(), 1);
      ring.disarm();
      assertEquals(answer(), false);
      assert(ring.look());
      assertEquals(ring.take(), 2);
    }
    assertEquals(device.broken, "");
  });
}

Deno.test("what was not out is told from what was: split", () => {
  for (const head of [0, 1, 3, 15, 16, 0xffff_ffff]) {
    const { ring, memory } = rig(false, false, false);
    const stride = 3;
    ring.add(1, 0);
    ring.publish();
    const used = new DataView(new ArrayBuffer(12));
    used.setUint16(2, 1, true);
    used.setUint32(4, head, true);
    memory.write(ring.deviceArea, new Uint8Array(used.buffer));
    assert(ring.look());
    assertEquals(ring.take(), head === stride ? 1 : UNKNOWN, String(head));
  }
});

Deno.test("what was not out is told from what was: packed", () => {
  for (const id of [0, 1, 4, 5, 0xffff]) {
    const { ring, memory } = rig(true, false, false);
    ring.add(1, 0);
    ring.publish();
    const used = new DataView(new ArrayBuffer(16));
    used.setUint16(12, id, true);
    used.setUint16(14, 0x8080, true);
    memory.write(ring.descriptorArea, new Uint8Array(used.buffer));
    assert(ring.look());
    assertEquals(ring.take(), id === 1 ? 1 : UNKNOWN, String(id));
  }
});
