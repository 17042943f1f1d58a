import {
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { DataDevice } from "../device/device.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import { FakeDriver } from "./fake_driver.ts";
import { NetDriver, type NetDriverOptions } from "./net_driver.ts";
import { RING_KINDS, type RingKind } from "./ring_kinds.ts";
import { StalledError } from "./ring_request.ts";

/** Sends each frame back with its header, in as many buffers as it takes. */
class Echo implements DataDevice {
  /** What it says in num_buffers, beside the truth. */
  lie = 0;
  /** What it says that it wrote of each frame it sent. */
  sent = 0;
  /** Bytes that it writes behind those it tells of. */
  beyond = 0;
  #receive: Virtqueue | null = null;

  start(queue: Virtqueue): void {
    if (queue.index === 0) this.#receive = queue;
  }

  drain(queue: Virtqueue): void {
    if (queue.index === 0) return;
    while (this.#receive!.hasAvailable() && queue.pop()) {
      const bytes = new Uint8Array(queue.chain.reader.size);
      queue.chain.reader.readBytes(bytes);
      queue.push(queue.chain.head, this.sent);
      this.#give(bytes);
    }
  }

  #give(bytes: Uint8Array): void {
    const queue = this.#receive!;
    let count = 1;
    for (let done = 0; done < bytes.length; count++) {
      if (!queue.pop()) return;
      const { head, writer } = queue.chain;
      if (done === 0) {
        bytes[10] = Math.ceil(bytes.length / writer.size) + this.lie;
      }
      const size = writer.writeBytes(bytes.subarray(done));
      writer.writeBytes(new Uint8Array(this.beyond));
      queue.push(head, size);
      done += size;
    }
  }
}

function each(
  name: string,
  fn: (
    open: (options?: NetDriverOptions) => [NetDriver, Echo, FakeDriver],
  ) => Promise<void>,
): void {
  const run = async (kind: RingKind) => {
    const opened: FakeDriver[] = [];
    try {
      await fn((options) => {
        const echo = new Echo();
        const fake = FakeDriver.over(() => echo, {
          kind,
          queueCount: 2,
          queueSize: 8,
        });
        opened.push(fake);
        const [receive, transmit] = fake.rings;
        const net = new NetDriver(fake.memory, receive!, transmit!, options);
        return [net, echo, fake];
      });
    } finally {
      for (const fake of opened) fake[Symbol.dispose]();
    }
  };
  for (const kind of RING_KINDS) {
    Deno.test(`${name} (${kind.name})`, () => run(kind));
  }
}

function frameOf(size: number): Uint8Array {
  return new Uint8Array(size).map((_, i) => i + size);
}

each("frames come back as they were sent, for ever", async (open) => {
  const [net] = open({ bufferCount: 4 });
  net.post();
  const sizes = Array.from({ length: 40 }, (_, i) => 60 + i);
  // More at once than either ring has room for.
  const sent = Promise.all(sizes.map((size) => net.send(frameOf(size))));
  const got: number[] = [];
  for await (const { frame, header, bufferCount } of net.frames()) {
    assertEquals(frame, frameOf(frame.length));
    assertEquals([header.length, bufferCount], [12, 1]);
    got.push(frame.length);
    if (got.length === sizes.length) break;
  }
  assertEquals(got, sizes);
  await sent;
  assertEquals(net.sentCount, 40);
});

each("a frame comes in as many buffers as it takes", async (open) => {
  for (const layout of [[100], [10, 90], [1, 1, 98]]) {
    const [net] = open({ mergeable: true, layout, indirect: true });
    net.post();
    await net.send(frameOf(250), undefined, { readable: [5, 7, 100] });
    const { frame, bufferCount } = await net.next();
    assertEquals([frame, bufferCount], [frameOf(250), 3]);
  }
});

each("no frame in time is an error, or none ever", async (open) => {
  const [net] = open();
  net.post(2);
  const error = await assertRejects(() => net.next(), StalledError);
  assertStringIncludes(error.message, "2 requests are out, wanted back");
  assertStringIncludes(error.message, "a receive buffer (head ");
  const abort = AbortSignal.abort(new Error("Enough"));
  const frames = net.frames({ signal: abort });
  await assertRejects(() => frames.next(), Error, "Enough");
});

each("a device that does not keep to the rules is found out", async (open) => {
  const cases: [Partial<Echo>, NetDriverOptions, string][] = [
    [{ lie: 1 }, {}, "num_buffers is 2, wanted 1"],
    [{ lie: 1 }, { mergeable: true }, "Buffer 1 of the 2 of a frame"],
    [{ beyond: 1 }, {}, "of a receive buffer"],
  ];
  for (const [defect, options, message] of cases) {
    const [net, echo] = open(options);
    Object.assign(echo, defect);
    net.post();
    await net.send(frameOf(60));
    assertThrows(() => net.take(), Error, message);
  }
  const [net, echo] = open();
  net.post();
  echo.sent = 3;
  const text = "A frame that was sent has 3 bytes, wanted 0";
  await assertRejects(() => net.send(frameOf(60)), Error, text);
  net.stage(frameOf(60));
  net.publishFrames();
  await assertRejects(() => net.flush(), Error, text);
});

each("what is staged is shown together, and waited for", async (open) => {
  const [net, , fake] = open();
  net.post(3);
  for (const size of [60, 61, 62]) net.stage(frameOf(size));
  fake.settle();
  assertEquals(net.takeSent(), 0);
  net.publishFrames();
  await net.flush();
  assertEquals([net.sentCount, net.takeSent()], [3, 0]);
  const back = [net.take(), net.take(), net.take(), net.take()];
  assertEquals(back.map((one) => one?.frame.length), [60, 61, 62, undefined]);
});
