import { assertEquals, assertLess } from "@std/assert";
import type { DataDevice } from "../device/device.ts";
import { EventFd } from "../io/event_fd.ts";
import { Reactor } from "../io/reactor.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { SplitDriver } from "../testing/split_driver.ts";
import { openVirtqueue } from "../virtqueue/open.ts";
import { DataPlane } from "./data_plane.ts";
import { InlinePlane } from "./inline_plane.ts";

/** How long a request takes that is waited for. */
const REQUEST_MS = 15;
const REQUESTS = 64;

Deno.test("what others wait for comes after a turn or two, however long they take", async () => {
  await using reactor = new Reactor();
  using memory = DriverMemory.shared(1 << 20);
  using event = EventFd.open();
  let done = 0;
  const device: DataDevice = {
    drain(queue): void {
      if (!queue.pop()) return;
      const until = performance.now() + REQUEST_MS;
      while (performance.now() < until);
      queue.push(queue.chain.head, 0);
      if (++done === 5) event.signal();
    },
  };
  const ring = new SplitDriver(memory, REQUESTS);
  for (let i = 0; i < REQUESTS; i++) {
    ring.add([{ address: memory.allocate(16), size: 16, writable: true }]);
  }
  ring.publish();
  const heard = reactor.readable(event.fd.number).then(() => done);
  const data = new DataPlane(() => device, null, null, 1, openVirtqueue);
  const plane = new InlinePlane(data, reactor);
  await plane.send({ kind: "setMemory", layout: memory.layout() });
  await plane.send({
    kind: "startVring",
    config: ring.config(0),
    kickFd: -1,
    callFd: -1,
    errFd: -1,
    enabled: true,
  });
  const meanwhile = await heard - 5;
  assertEquals(await plane.send({ kind: "stopVring", index: 0 }), done);
  await plane.send({ kind: "close" });
  await plane.close();
  assertLess(meanwhile, 5, "requests that were done meanwhile");
});
