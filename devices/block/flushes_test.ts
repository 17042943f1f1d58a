import { assertEquals } from "@std/assert";
import { requirement } from "../../tests/support/require.ts";
import { EINVAL } from "../../src/ffi/abi.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { IoUring } from "../../src/io/io_uring.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { Flushes } from "./flushes.ts";

const hasUring = requirement("io_uring", () => {
  IoUring.open(8)[Symbol.dispose]();
  return true;
});

/** Flushes of a file, and what became of them. */
class Scene implements Disposable {
  readonly uring = IoUring.open(8);
  readonly done: [slot: number, result: number][] = [];
  readonly flushes: Flushes;
  /** What the ring does when one is done. */
  then: (slot: number) => void = () => {};

  constructor(fd: number) {
    this.flushes = new Flushes(this.uring, fd, {
      complete: (slot, result) => {
        this.done.push([slot, result]);
        this.then(slot);
      },
    });
  }

  flush(...slots: number[]): void {
    for (const slot of slots) this.flushes.flush(slot);
  }

  /** Waits for the calls that are under way: the slots that they completed. */
  reap(): number[] {
    const calls = this.uring.inFlight;
    this.uring.submitAndWait(calls);
    this.uring.reap(calls);
    return this.done.splice(0).map(([slot]) => slot);
  }

  [Symbol.dispose](): void {
    this.uring[Symbol.dispose]();
  }
}

function test(name: string, run: (scene: Scene) => void): void {
  Deno.test({
    name: `Flushes: ${name}`,
    ignore: !hasUring,
    fn() {
      using file = createMemfd("flushes", 4096);
      using scene = new Scene(file.number);
      run(scene);
    },
  });
}

test("what comes before the call is handed over is done by it", (scene) => {
  scene.flush(3, 32767, 0);
  assertEquals(scene.uring.pending, 1);
  assertEquals(scene.reap(), [3, 32767, 0]);
  assertEquals(scene.uring.inFlight, 0);
});

test("what comes later is not, since it covers more", (scene) => {
  scene.flush(1);
  scene.uring.submit();
  scene.flush(2, 3);
  assertEquals([scene.uring.inFlight, scene.uring.pending], [2, 1]);
  assertEquals(scene.reap(), [1, 2, 3]);
});

test("while two calls are under way all others wait for one more", (scene) => {
  const { uring } = scene;
  for (const slot of [1, 2, 3, 4, 5]) {
    scene.flush(slot);
    uring.submit();
  }
  assertEquals(uring.inFlight, 2);
  assertEquals(scene.reap(), [1, 2]);
  // Both calls are free again, but what waited waited together.
  assertEquals([uring.inFlight, uring.pending], [1, 1]);
  scene.flush(6);
  assertEquals(uring.inFlight, 1);
  assertEquals(scene.reap(), [3, 4, 5, 6]);
  scene.flush(1);
  assertEquals(scene.reap(), [1]);
});

test("each hears of an error, and may ask again at once", () => {
  // It has nothing that could be flushed.
  using event = EventFd.open();
  using scene = new Scene(event.fd.number);
  let again = 2;
  scene.then = (slot) => {
    if (again-- > 0) scene.flush(slot);
  };
  scene.flush(1, 2, 3);
  scene.uring.submitAndWait(1);
  scene.uring.reap(1);
  const refused = (slot: number) => [slot, -EINVAL];
  assertEquals(scene.done.splice(0), [1, 2, 3].map(refused));
  assertEquals(scene.reap(), [1, 2]);
  assertEquals(scene.uring.inFlight, 0);
});
