import { assert, assertEquals } from "@std/assert";
import type { DataPlaneServices } from "../../src/device/device.ts";
import { EAGAIN, EMSGSIZE } from "../../src/ffi/abi.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { sizeOf } from "../../tests/devices/frame_ring_worker.ts";
import { frameOf } from "../../tests/devices/net_rig.ts";
import { createFrameRing, FrameRing, RING_FRAME_MAX } from "./frame_ring.ts";
import { GuestCopy } from "./guest_copy.ts";

const ROOM = RING_FRAME_MAX;

/** A ring, and guest memory to take frames into. */
class Stage implements Disposable {
  readonly fd = createFrameRing();
  readonly ring = new FrameRing(this.fd.number);
  readonly memory = DriverMemory.shared(2 * ROOM);
  readonly list = new IovecList(4);
  readonly copy: GuestCopy;
  readonly #address = this.memory.allocate(ROOM);

  constructor() {
    const services: DataPlaneServices = {
      memory: this.memory.guestMemory(),
      uring: null,
      watch: () => {},
      unwatch: () => {},
    };
    this.copy = new GuestCopy(services);
    const [region] = this.memory.regions;
    const offset = this.#address - region!.guestAddress;
    // In three pieces, the second of them odd.
    const start = region!.hostAddress + offset;
    this.list.set(0, start, 12);
    this.list.set(1, start + 12, 101);
    this.list.set(2, start + 113, ROOM - 113);
  }

  add(bytes: Uint8Array): number {
    const place = this.ring.reserve(bytes.length);
    if (place < 0) return place;
    this.ring.fillBytes(place, bytes);
    this.ring.commit(place, bytes.length);
    return 0;
  }

  /** The next frame, or a negative errno. */
  take(): Uint8Array | number {
    const size = this.ring.take(this.list, 0, 3, this.copy);
    return size < 0 ? size : this.memory.read(this.#address, size);
  }

  [Symbol.dispose](): void {
    this.list[Symbol.dispose]();
    this.ring[Symbol.dispose]();
    this.fd.close();
    this.memory[Symbol.dispose]();
  }
}

Deno.test("frames come out as they went in, over the end of the ring", () => {
  using stage = new Stage();
  assertEquals(stage.take(), -EAGAIN);
  for (let i = 0; i < 2000; i++) {
    const frame = frameOf(1 + (i * 977) % 9000, i);
    assertEquals(stage.add(frame), 0);
    const back = stage.take();
    assert(typeof back !== "number" && back.length === frame.length, `${i}`);
    assert(back.every((byte, at) => byte === frame[at]), `Frame ${i}`);
  }
});

Deno.test("a ring that is full says so, and is not harmed", () => {
  using stage = new Stage();
  assertEquals(stage.add(new Uint8Array(RING_FRAME_MAX + 1)), -EMSGSIZE);
  for (const size of [60, 2048, 2049, 65565]) {
    let added = 0;
    while (stage.add(frameOf(size, added)) === 0) added++;
    assert(added >= Math.floor(1024 / Math.ceil(size / 2048)) - 32, `${added}`);
    for (let i = 0; i < added; i++) {
      const back = stage.take();
      assert(typeof back !== "number");
      assertEquals([back[0], back.length], [frameOf(1, i)[0], size]);
    }
    assertEquals(stage.take(), -EAGAIN);
  }
});

Deno.test("a place that is not filled in yet holds up those behind it", () => {
  using stage = new Stage();
  const place = stage.ring.reserve(60);
  assertEquals(stage.add(frameOf(70)), 0);
  assertEquals(stage.take(), -EAGAIN);
  stage.ring.fillBytes(place, frameOf(60));
  stage.ring.commit(place, 60);
  assertEquals(stage.take(), frameOf(60));
  assertEquals(stage.take(), frameOf(70));
});

Deno.test("who sleeps is woken once, and not put to sleep over a frame", () => {
  using stage = new Stage();
  assert(!stage.ring.mustWake());
  assert(stage.ring.sleep());
  stage.add(frameOf(60));
  assert(stage.ring.mustWake());
  assert(!stage.ring.mustWake());
  assert(!stage.ring.sleep());
  assertEquals(stage.ring.drop(), 1);
  assert(stage.ring.sleep());
});

Deno.test("three threads add, one takes: none lost, each in order", async () => {
  using stage = new Stage();
  const count = 20_000;
  const url = import.meta.resolve("../../tests/devices/frame_ring_worker.ts");
  const workers = [1, 2, 3].map((id) => {
    const worker = new Worker(url, { type: "module" });
    worker.postMessage({ fd: stage.fd.number, id, count });
    return worker;
  });
  const done = workers.map((worker) =>
    new Promise((resolve) => worker.onmessage = resolve)
  );
  const next = [0, 0, 0, 0];
  let got = 0;
  while (got < 3 * count) {
    const frame = stage.take();
    if (typeof frame === "number") {
      assertEquals(frame, -EAGAIN);
      await new Promise((resolve) => setTimeout(resolve));
      continue;
    }
    const i = new DataView(frame.buffer).getUint32(0);
    const id = frame[4]!;
    assertEquals(i, next[id]);
    assertEquals(frame.length, sizeOf(i));
    assertEquals(frame.at(-1), (id + i) & 255);
    next[id] = i + 1;
    got++;
  }
  await Promise.all(done);
  for (const worker of workers) worker.terminate();
  assertEquals(stage.take(), -EAGAIN);
});
