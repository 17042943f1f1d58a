import { assertEquals } from "@std/assert";
import {
  eachKind,
  frameOf,
  HEADER,
  type Rig,
} from "../../tests/devices/net_rig.ts";
import { ENETDOWN } from "../../src/ffi/abi.ts";
import { TX_DROPPED, TX_FRAMES } from "./counters.ts";

function framesSent(rig: Rig): Uint8Array[] {
  return rig.port.sent.map((bytes) => bytes.slice(HEADER));
}

eachKind(
  "[H28] frames in any layout, the header split over descriptors",
  (open) => {
    using rig = open();
    const frame = frameOf(1000);
    const layouts = [
      [12],
      [1012],
      [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
      [5, 7],
      [11, 1],
      [13],
      [3, 500],
      [20, 1, 1, 1],
    ];
    for (const readable of layouts) {
      rig.driver.stage(frame, undefined, { readable });
    }
    rig.driver.publishFrames();
    rig.turn();
    assertEquals(rig.driver.takeSent(), layouts.length);
    assertEquals(framesSent(rig), layouts.map(() => frame));
    assertEquals(rig.counters[TX_FRAMES], layouts.length);
  },
);

eachKind("[H28] what has no header, or no frame, is dropped", (open) => {
  using rig = open();
  const cases: [header: number, frame: number][] = [
    [1, 0],
    [11, 0],
    [12, 0],
    [12, 1],
    [12, 13],
    [12, 65554],
    [12, 1 << 20],
  ];
  for (const [header, frame] of cases) {
    rig.driver.stage(new Uint8Array(frame), new Uint8Array(header));
  }
  rig.driver.stage(frameOf(14));
  rig.driver.stage(frameOf(65553));
  rig.driver.publishFrames();
  rig.turn();
  assertEquals(rig.driver.takeSent(), cases.length + 2);
  assertEquals(framesSent(rig), [frameOf(14), frameOf(65553)]);
  assertEquals(rig.counters[TX_DROPPED], cases.length);
});

eachKind("[H28] a writable chain to send from is dropped", (open) => {
  using rig = open();
  rig.driver.transmit.stage([{ room: 100 }]);
  rig.driver.publishFrames();
  rig.turn();
  assertEquals(rig.driver.takeSent(), 1);
  assertEquals(rig.port.sent, []);
});

eachKind(
  "[H28] a frame in more pieces than a system call takes is dropped",
  (open) => {
    using rig = open({ indirect: true });
    rig.driver.stage(frameOf(1024), undefined, {
      readable: [12, ...new Array(1023).fill(1)],
    });
    rig.driver.stage(frameOf(1023), undefined, {
      readable: [12, ...new Array(1022).fill(1)],
    });
    rig.driver.publishFrames();
    rig.turn();
    assertEquals(rig.driver.takeSent(), 2);
    assertEquals(framesSent(rig), [frameOf(1023)]);
  },
);

eachKind(
  "no room on the host: the order stays, and nothing is lost",
  (open) => {
    using rig = open({ size: 128 });
    rig.port.room = 0;
    for (let i = 0; i < 40; i++) rig.driver.stage(frameOf(60 + i, i));
    rig.driver.publishFrames();
    for (let i = 0; i < 100; i++) {
      rig.port.room = i % 3;
      rig.turn();
      assertEquals(rig.transmitQueue.inFlight, 0);
    }
    assertEquals(rig.driver.takeSent(), 40);
    assertEquals(
      framesSent(rig),
      Array.from({ length: 40 }, (_, i) => frameOf(60 + i, i)),
    );
    assertEquals(rig.counters[TX_DROPPED], 0);
  },
);

eachKind("what the host refuses is dropped and counted", (open) => {
  using rig = open();
  rig.port.failure = ENETDOWN;
  rig.driver.stage(frameOf(60));
  rig.driver.publishFrames();
  rig.turn();
  assertEquals(rig.driver.takeSent(), 1);
  assertEquals([rig.counters[TX_FRAMES], rig.counters[TX_DROPPED]], [0, 1]);
});

eachKind("a disabled ring is emptied, and nothing is sent", (open) => {
  using rig = open();
  for (let i = 0; i < 5; i++) rig.driver.stage(frameOf(60));
  rig.driver.publishFrames();
  rig.transmit.discard(rig.transmitQueue);
  rig.transmitQueue.flush();
  assertEquals(rig.driver.takeSent(), 5);
  assertEquals(rig.port.sent, []);
});
