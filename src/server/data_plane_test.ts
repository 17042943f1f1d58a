import { assert, assertEquals } from "@std/assert";
import type { DataDevice } from "../device/device.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { SplitDriver } from "../testing/split_driver.ts";
import { DataPlane } from "./data_plane.ts";

/** A plane with one ring, whose device does as a test says. */
class Stage implements Disposable {
  readonly memory = DriverMemory.shared(1 << 20);
  readonly ring = new SplitDriver(this.memory, 16, { eventIndex: true });
  readonly plane: DataPlane;

  constructor(device: DataDevice, enabled = true) {
    this.plane = new DataPlane(() => device, null, null, 2);
    this.run({ kind: "setMemory", layout: this.memory.layout() });
    this.run({
      kind: "startVring",
      config: this.ring.config(1),
      kickFd: 0,
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

  [Symbol.dispose](): void {
    this.plane[Symbol.dispose]();
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
