import { assert, assertEquals } from "@std/assert";
import { eachKind, frameOf, type Rig } from "../../tests/devices/net_rig.ts";
import { RX_DROPPED, RX_FRAMES } from "./counters.ts";

/** Takes all that is there: sizes and buffers, after comparing the bytes. */
function taken(rig: Rig, wanted: readonly Uint8Array[]): number[] {
  const counts: number[] = [];
  for (const frame of wanted) {
    const got = rig.driver.take();
    assertEquals(got?.frame.length, frame.length);
    assert(got!.frame.every((byte, i) => byte === frame[i]), "other bytes");
    counts.push(got!.bufferCount);
  }
  assertEquals(rig.driver.take(), null);
  return counts;
}

/** What the device takes next, without the wrap counter of a packed ring. */
function positionOf(rig: Rig): number {
  return rig.receiveQueue.nextAvail & 0x7fff;
}

/** Nothing is in flight, and nothing of the ring was lost. */
function isWhole(rig: Rig): void {
  assertEquals(rig.receiveQueue.inFlight, 0);
  assertEquals(rig.receiveQueue.broken, "");
}

const LAYOUTS: readonly (readonly number[])[] = [
  [2048],
  [12, 2036],
  [5, 7, 3000],
  [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2000],
  [10, 1, 1, 700, 700, 700],
  [11, 2037],
];

for (const mergeable of [false, true]) {
  const mode = mergeable ? "mergeable" : "single";

  eachKind(`a frame goes into buffers of any layout (${mode})`, (open) => {
    for (const layout of LAYOUTS) {
      using rig = open({ mergeable, layout });
      const frames = [60, 61, 1514, 14].map(frameOf);
      rig.driver.post();
      frames.forEach((frame) => rig.port.offer(frame));
      rig.turn();
      assertEquals(taken(rig, frames), [1, 1, 1, 1], String(layout));
      isWhole(rig);
    }
  });

  eachKind(`no buffers: the host keeps its frames (${mode})`, (open) => {
    using rig = open({ mergeable, bufferSize: 2048 });
    const frames = [100, 200].map(frameOf);
    frames.forEach((frame) => rig.port.offer(frame));
    rig.turn();
    assertEquals(rig.port.incoming.length, 2);
    rig.driver.post(1);
    rig.turn();
    assertEquals(rig.port.incoming.length, 1);
    rig.driver.post(1);
    rig.turn();
    taken(rig, frames);
    isWhole(rig);
  });

  eachKind(`many rounds over the ring, in order (${mode})`, (open) => {
    using rig = open({ mergeable, bufferSize: 2048, size: 16 });
    let sent = 0;
    let got = 0;
    for (let round = 0; round < 100; round++) {
      for (let i = 0; i < round % 23; i++) {
        rig.port.offer(frameOf(60 + sent % 1400, sent++));
      }
      rig.driver.post();
      rig.turn();
      for (let frame; (frame = rig.driver.take()) !== null; got++) {
        assertEquals(frame.frame, frameOf(60 + got % 1400, got));
      }
    }
    while (rig.port.incoming.length > 0) {
      rig.driver.post();
      rig.turn();
      for (let frame; (frame = rig.driver.take()) !== null; got++) {
        assertEquals(frame.frame, frameOf(60 + got % 1400, got));
      }
    }
    assertEquals(got, sent);
    isWhole(rig);
  });

  eachKind(
    `[H28] a frame that is shorter than its header is dropped (${mode})`,
    (open) => {
      using rig = open({ mergeable, bufferSize: 2048 });
      rig.driver.post();
      rig.port.offer(frameOf(13));
      rig.port.offer(frameOf(14));
      rig.turn();
      taken(rig, [frameOf(14)]);
      assertEquals(rig.counters[RX_DROPPED], 1);
    },
  );

  eachKind(
    `[H28] buffers that are too small are given back unused (${mode})`,
    (open) => {
      using rig = open({ mergeable, bufferSize: 2048 });
      rig.driver.postBuffer([11]);
      rig.driver.postBuffer([2048]);
      rig.driver.postBuffer([1]);
      rig.driver.postBuffer([2048]);
      rig.driver.publishBuffers();
      rig.port.offer(frameOf(900));
      rig.port.offer(frameOf(901));
      rig.turn();
      const used = [0, 1, 2, 3].map(() => rig.driver.receiveRing.nextUsed()!);
      assertEquals(used.map(({ written }) => written), [0, 912, 0, 913]);
      isWhole(rig);
    },
  );

  eachKind(
    `[H28] a receive chain of the wrong direction is given back (${mode})`,
    (open) => {
      using rig = open({ mergeable, bufferSize: 2048 });
      const { driver, fake: { memory } } = rig;
      const address = memory.allocate(2048);
      driver.receiveRing.add([{ address, size: 2048, writable: false }]);
      driver.postBuffer([2048]);
      driver.publishBuffers();
      rig.port.offer(frameOf(99));
      rig.turn();
      assertEquals(driver.receiveRing.nextUsed()!.written, 0);
      taken(rig, [frameOf(99)]);
      isWhole(rig);
    },
  );

  eachKind(
    `[H28] malformed chains between buffers lose no frame (${mode})`,
    (open) => {
      using rig = open({ mergeable, bufferSize: 1000, expect: 3000 });
      const { driver } = rig;
      for (let i = 0; i < 12; i++) {
        if (i % 3 === 1) {
          driver.receiveRing.add([{
            address: 0xdead_0000_0000n,
            size: 1000,
            writable: true,
          }]);
        } else driver.postBuffer([1000]);
      }
      driver.publishBuffers();
      rig.port.offer(frameOf(500));
      rig.turn();
      rig.turn();
      const written: number[] = [];
      for (let used; (used = driver.receiveRing.nextUsed()) !== null;) {
        written.push(used.written);
      }
      assertEquals(written.filter((size) => size > 0), [512]);
      assertEquals(rig.counters[RX_FRAMES], 1);
      isWhole(rig);
    },
  );

  eachKind(
    `the kernel's word on checksums is for those who asked (${mode})`,
    (open) => {
      using rig = open({ mergeable, bufferSize: 2048 });
      rig.driver.post();
      rig.port.offer(frameOf(60), 2);
      rig.turn();
      assertEquals(rig.driver.take()!.header[0], 0);
      rig.receive.checksums = true;
      rig.port.offer(frameOf(60), 2);
      rig.turn();
      assertEquals(rig.driver.take()!.header[0], 2);
    },
  );
}

eachKind(
  "[H28] a frame too large for its buffer is dropped, not cut",
  (open) => {
    using rig = open({ bufferSize: 1000 });
    rig.driver.post();
    rig.port.offer(frameOf(989));
    rig.port.offer(frameOf(988));
    rig.port.offer(frameOf(65535));
    rig.turn();
    taken(rig, [frameOf(988)]);
    assertEquals(rig.counters[RX_DROPPED], 2);
    isWhole(rig);
  },
);

eachKind("a frame is spread over as many buffers as it takes", (open) => {
  using rig = open({ mergeable: true, bufferSize: 1000, expect: 9018 });
  rig.driver.post();
  const frames = [988, 989, 1988, 1989, 9018].map(frameOf);
  frames.forEach((frame) => rig.port.offer(frame));
  rig.turn();
  assertEquals(taken(rig, frames), [1, 2, 2, 3, 10]);
  isWhole(rig);
});

eachKind("a page is written before its log is told", (open) => {
  using rig = open({ mergeable: true, bufferSize: 1000, expect: 9018 });
  rig.driver.post();
  const [first] = rig.driver.receive.out;
  const [view, at] = rig.fake.memory.view(Number(first!.segments[0]!.address));
  // A chain is logged when it is pushed.
  const counts: number[] = [];
  const queue = rig.receiveQueue;
  const { push } = queue;
  queue.push = (head, written) => {
    counts.push(view.getUint16(at + 10, true));
    push.call(queue, head, written);
  };
  rig.port.offer(frameOf(1989));
  rig.turn();
  assertEquals(counts, [3, 3, 3]);
  taken(rig, [frameOf(1989)]);
});

eachKind("a frame that nobody expected is not lost", (open) => {
  using rig = open({ mergeable: true, bufferSize: 1526, expect: 1518 });
  rig.driver.post();
  const frames = [60, 9014, 60, 9014, 65553].map(frameOf);
  frames.forEach((frame) => rig.port.offer(frame));
  rig.turn();
  assertEquals(taken(rig, frames), [1, 6, 1, 6, 43]);
  assertEquals(rig.counters[RX_DROPPED], 0);
  isWhole(rig);
});

eachKind(
  "a frame waits in its place until there are buffers for it",
  (open) => {
    using rig = open({ mergeable: true, bufferSize: 2000, expect: 65553 });
    // What the driver offers at first decides what can be waited for.
    rig.driver.post(40);
    rig.port.offer(frameOf(60_000, 1));
    rig.turn();
    taken(rig, [frameOf(60_000, 1)]);
    // 9 buffers are left of 40.
    rig.port.offer(frameOf(60_000, 2));
    rig.port.offer(frameOf(100, 3));
    rig.turn();
    taken(rig, []);
    assertEquals(positionOf(rig), 31);
    rig.driver.post(10);
    rig.turn();
    taken(rig, []);
    rig.driver.post(20);
    rig.turn();
    taken(rig, [frameOf(60_000, 2), frameOf(100, 3)]);
    assertEquals(rig.counters[RX_DROPPED], 0);
    isWhole(rig);
  },
);

eachKind("a frame for which there never were buffers is dropped", (open) => {
  using rig = open({
    mergeable: true,
    bufferSize: 1000,
    expect: 65553,
    size: 16,
  });
  rig.driver.post();
  rig.port.offer(frameOf(40_000));
  rig.port.offer(frameOf(15_000));
  rig.turn();
  taken(rig, [frameOf(15_000)]);
  assertEquals(rig.counters[RX_DROPPED], 1);
  isWhole(rig);
});

eachKind(
  "a chain of more pieces than a system call takes is given back",
  (open) => {
    using rig = open({ mergeable: true, bufferSize: 2048 });
    const { driver } = rig;
    driver.postBuffer(new Array(1024).fill(4), { indirect: true });
    driver.postBuffer([2048]);
    driver.publishBuffers();
    rig.port.offer(frameOf(800));
    rig.turn();
    assertEquals(driver.receiveRing.nextUsed()!.written, 0);
    taken(rig, [frameOf(800)]);
    isWhole(rig);
  },
);

eachKind("chains of many pieces share a window", (open) => {
  using rig = open({
    mergeable: true,
    layout: new Array(60).fill(30),
    indirect: true,
    expect: 65553,
  });
  rig.driver.post(60);
  const frames = [60, 1700, 1800, 25_000, 25_000, 60].map(frameOf);
  frames.forEach((frame) => rig.port.offer(frame));
  rig.turn();
  taken(rig, frames);
  isWhole(rig);
});

eachKind(
  "a frame too large for its buffer leaves those after it whole (single)",
  (open) => {
    using rig = open({ bufferSize: 100 });
    rig.driver.post();
    // The second fits two buffers, but may have one only.
    const frames = [300, 150, 88, 300, 88].map((size) => frameOf(size));
    frames.forEach((frame) => rig.port.offer(frame));
    rig.turn();
    const fit = frames.filter(({ length }) => length <= 88);
    assertEquals(taken(rig, fit), [1, 1]);
    assertEquals(rig.counters[RX_DROPPED], 3);
    isWhole(rig);
  },
);
