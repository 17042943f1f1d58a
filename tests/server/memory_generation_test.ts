/**
 * Memory may be unmapped only after every thread has let go of it: an access
 * after that is no exception but a segmentation fault.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { EventFd } from "../../src/io/event_fd.ts";
import { Reactor } from "../../src/io/reactor.ts";
import type { Carrier } from "../../src/server/command.ts";
import { DataPlane } from "../../src/server/data_plane.ts";
import { InlinePlane } from "../../src/server/inline_plane.ts";
import { openUring } from "../../src/server/open_uring.ts";
import { WorkerPlane } from "../../src/server/worker_plane.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { SplitDriver } from "../../src/testing/split_driver.ts";
import { openVirtqueue } from "../../src/virtqueue/mod.ts";
import { eventually } from "../vm/deadline.ts";
import { open } from "./holding_device.ts";

const RINGS = 4;

type OpenCarrier = (useUring: boolean) => Promise<Carrier>;

const CARRIERS: Record<string, OpenCarrier> = {
  inline: (useUring) => {
    const uring = useUring ? openUring(false) : null;
    const plane = new DataPlane(open, null, uring, RINGS, openVirtqueue);
    return Promise.resolve(new InlinePlane(plane, Reactor.main));
  },
  "two workers": (useUring) =>
    WorkerPlane.open(2, import.meta.resolve("./holding_device.ts"), {
      seed: null,
      ringCount: RINGS,
      useUring,
    }),
};

/** A carrier with ring 0 and ring 1 running, on different threads where there are two. */
class Scene implements AsyncDisposable {
  readonly memory = DriverMemory.shared(1 << 20);
  readonly rings = [0, 1].map((index) => ({
    index,
    driver: new SplitDriver(this.memory, 16, { eventIndex: true }),
    kick: EventFd.open(),
    call: EventFd.open(),
  }));

  constructor(readonly carrier: Carrier) {}

  async start(): Promise<void> {
    await this.carrier.send({
      kind: "setMemory",
      layout: this.memory.layout(1),
    });
    for (const { index, driver, kick, call } of this.rings) {
      await this.carrier.send({
        kind: "startVring",
        config: driver.config(index),
        kickFd: kick.fd.number,
        callFd: call.fd.number,
        errFd: -1,
        enabled: true,
      });
    }
  }

  /** Publishes one request on ring `index` and kicks. */
  request(index: number): void {
    const { driver, kick } = this.rings[index]!;
    driver.add([{ address: 0x10000, size: 16, writable: false }]);
    driver.publish();
    kick.signal();
  }

  /** Resolves when ring `index` has given back `count` requests. */
  async used(index: number, count: number): Promise<void> {
    const { driver } = this.rings[index]!;
    await eventually(
      () => driver.publishedUsedIndex === count,
      5_000,
      () => `${driver.publishedUsedIndex} requests came back`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.carrier.send({ kind: "update", state: "release" });
    for (const { index } of this.rings) {
      await this.carrier.send({ kind: "stopVring", index }).catch(() => {});
    }
    await this.carrier.send({ kind: "close" });
    await this.carrier.close();
    for (const { kick, call } of this.rings) {
      kick[Symbol.dispose]();
      call[Symbol.dispose]();
    }
    this.memory[Symbol.dispose]();
  }
}

/** Whether `promise` settles before a command that was sent after it is answered. */
async function settledBefore(
  promise: Promise<unknown>,
  carrier: Carrier,
): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  // Both threads have certainly seen the first command when they answer these.
  for (let i = 0; i < 3; i++) {
    await carrier.send({ kind: "enableVring", index: 0, enabled: true });
    await carrier.send({ kind: "enableVring", index: 1, enabled: true });
  }
  return settled;
}

for (const [name, openCarrier] of Object.entries(CARRIERS)) {
  for (const useUring of [true, false]) {
    const where = `${name}, ${useUring ? "io_uring" : "epoll"}`;

    Deno.test(`a new memory generation is acknowledged only with nothing in flight (${where})`, async () => {
      await using scene = new Scene(await openCarrier(useUring));
      await scene.start();
      const { carrier } = scene;
      // Held on one thread only: the other one is idle and must not answer for both.
      scene.request(1);
      await popped(scene, 1);
      const change = carrier.send({
        kind: "setMemory",
        layout: scene.memory.layout(2),
      });
      assertEquals(await settledBefore(change, carrier), false);
      await carrier.send({ kind: "update", state: "release" });
      await change;
      await scene.used(1, 1);
      // And the rings go on in the new generation.
      scene.request(0);
      scene.request(1);
      await scene.used(0, 1);
      await scene.used(1, 2);
    });

    Deno.test(`a ring stops only with nothing in flight (${where})`, async () => {
      await using scene = new Scene(await openCarrier(useUring));
      await scene.start();
      const { carrier } = scene;
      scene.request(1);
      await popped(scene, 1);
      const stop = carrier.send({ kind: "stopVring", index: 1 });
      assertEquals(await settledBefore(stop, carrier), false);
      // A ring that is being stopped is not stopped twice.
      await assertRejects(() => carrier.send({ kind: "stopVring", index: 1 }));
      await carrier.send({ kind: "update", state: "release" });
      assertEquals(await stop, 1);
      assertEquals(scene.rings[1]!.driver.publishedUsedIndex, 1);
    });

    Deno.test(`a ring that no longer fits its memory breaks alone (${where})`, async () => {
      await using scene = new Scene(await openCarrier(useUring));
      await scene.start();
      const { carrier } = scene;
      await carrier.send({ kind: "update", state: "release" });
      await carrier.send({
        kind: "setMemory",
        layout: { generation: 2, regions: [] },
      });
      scene.request(0);
      await carrier.send({
        kind: "setMemory",
        layout: scene.memory.layout(3),
      });
      assertEquals(await carrier.send({ kind: "stopVring", index: 0 }), 0);
      assertEquals(scene.rings[0]!.driver.publishedUsedIndex, 0);
    });
  }
}

/**
 * Resolves when the device has popped the one request on ring `index`: its
 * thread parks, and asks to be kicked for the next one.
 */
async function popped(scene: Scene, index: number): Promise<void> {
  const { driver } = scene.rings[index]!;
  await eventually(
    () => driver.availEvent === 1,
    5_000,
    () => `The ring wants its next kick at ${driver.availEvent}`,
  );
}
