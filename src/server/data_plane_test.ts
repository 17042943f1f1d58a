import { assert, assertEquals } from "@std/assert";
import type { DataDevice } from "../device/device.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { SplitDriver } from "../testing/split_driver.ts";
import { EventFd } from "../io/event_fd.ts";
import { IoUring } from "../io/io_uring.ts";
import { hasUring } from "../../tests/support/uring.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import { openVirtqueue } from "../virtqueue/open.ts";
import { DataPlane } from "./data_plane.ts";

/** A plane with one ring, whose device does as a test says. */
class Stage implements Disposable {
  readonly memory = DriverMemory.shared(1 << 20);
  readonly ring = new SplitDriver(this.memory, 16, { eventIndex: true });
  readonly kick = EventFd.open();
  readonly plane: DataPlane;
  #published = 0;

  constructor(
    device: DataDevice,
    enabled = true,
    uring: IoUring | null = null,
  ) {
    this.plane = new DataPlane(() => device, null, uring, 2, openVirtqueue);
    this.run({ kind: "setMemory", layout: this.memory.layout() });
    this.run({
      kind: "startVring",
      config: this.ring.config(1),
      kickFd: this.kick.fd.number,
      callFd: -1,
      errFd: -1,
      enabled,
    });
  }

  run(command: Parameters<DataPlane["run"]>[0]): void {
    this.plane.run(command, (_, error) => {
      if (error !== undefined) throw error;
    });
  }

  /** Makes one more request; whether the device wants a kick for it. */
  add(): boolean {
    const address = this.memory.allocate(16);
    this.ring.add([{ address, size: 16, writable: true }]);
    return this.ring.publish();
  }

  /** How many requests were given back so far. */
  published(): number {
    while (this.ring.nextUsed() !== null) this.#published++;
    return this.#published;
  }

  [Symbol.dispose](): void {
    this.plane[Symbol.dispose]();
    this.kick[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}

Deno.test("an empty ring wants kicks while the thread is parked", () => {
  using stage = new Stage({ drain: () => {} });
  assert(stage.plane.arm());
  assert(stage.add());
});

Deno.test("what a device leaves needs no kicks, unless it waits for more", () => {
  let wantsMore = false;
  using stage = new Stage({ drain: () => {}, wantsMore: () => wantsMore });
  stage.add();
  assert(stage.plane.arm());
  assert(!stage.add());
  wantsMore = true;
  assert(stage.plane.arm());
  assert(stage.add());
});

Deno.test("a ring is enabled and disabled, and emptied only by who wants that", () => {
  const said: string[] = [];
  const device: DataDevice = {
    drain: (queue) => {
      while (queue.pop()) queue.push(queue.chain.head, 0);
      said.push("drain");
    },
    enable: (_, enabled) => said.push(`enable ${enabled}`),
  };
  {
    using stage = new Stage(device, false);
    stage.add();
    assertEquals([stage.plane.turn(), said], [0, []]);
    stage.run({ kind: "enableVring", index: 1, enabled: true });
    stage.run({ kind: "enableVring", index: 1, enabled: true });
    assertEquals(stage.plane.turn(), 1);
    assertEquals(said.splice(0), ["enable true", "drain"]);
    stage.run({ kind: "enableVring", index: 1, enabled: false });
    assertEquals(said.splice(0), ["enable false"]);
  }
  device.discard = (queue) => {
    while (queue.pop()) queue.push(queue.chain.head, 0);
    said.push("discard");
  };
  using stage = new Stage(device, false);
  assert(stage.plane.arm());
  assert(stage.add());
  assertEquals([stage.plane.turn(), said], [1, ["discard"]]);
  assertEquals(stage.ring.nextUsed()?.written, 0);
});

/** Chains as requests of `uring`, and how many were published before each ended. */
function uringDevice(
  uring: IoUring,
  published: () => number,
  prepare: (consumer: number, head: number) => void,
) {
  const before: number[] = [];
  let served: Virtqueue | null = null;
  const consumer = uring.addConsumer({
    complete(head) {
      before.push(published());
      served!.push(head, 0);
    },
  });
  const drain = (queue: Virtqueue) => {
    served = queue;
    while (queue.pop()) prepare(consumer, queue.chain.head);
  };
  return { before, device: { drain } satisfies DataDevice };
}

Deno.test({
  name: "what the kernel does at once is published part by part",
  ignore: !hasUring,
  fn() {
    const uring = IoUring.open(64);
    let stage: Stage | null = null;
    const { before, device } = uringDevice(
      uring,
      () => stage!.published(),
      (consumer, head) => uring.nop(consumer, head),
    );
    using open = stage = new Stage(device, true, uring);
    assertEquals(open.plane.turn(), 0);
    for (let i = 0; i < 14; i++) open.add();
    assertEquals(open.plane.turn(), 1 + 14);
    assertEquals(before, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12]);
    assertEquals(open.published(), 14);
  },
});

Deno.test({
  name: "what takes the kernel its time is handed over as a whole",
  ignore: !hasUring,
  fn() {
    const uring = IoUring.open(64);
    const { before, device } = uringDevice(
      uring,
      () => 0,
      (consumer, head) => uring.timeout(consumer, head, 3_600_000_000_000),
    );
    using stage = new Stage(device, true, uring);
    assertEquals(stage.plane.turn(), 0);
    for (let i = 0; i < 14; i++) stage.add();
    assertEquals(stage.plane.turn(), 1);
    assertEquals([before, uring.pending, uring.inFlight], [[], 0, 15]);
  },
});
