import { assert, assertEquals } from "@std/assert";
import { hasUring } from "../../tests/support/uring.ts";
import { EINVAL } from "../../src/ffi/abi.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { IoUring } from "../../src/io/io_uring.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { Prng } from "../../src/testing/prng.ts";
import { Flushes } from "./flushes.ts";

/** Flushes of a file, and what became of them. */
class Scene implements Disposable {
  readonly uring = IoUring.open(8);
  readonly done: [slot: number, result: number][] = [];
  readonly flushes: Flushes;
  /** What the ring does when one is done. */
  then: (slot: number) => void = () => {};

  constructor(fd: number) {
    this.flushes = new Flushes(this.uring, [fd, fd], {
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

/** Tells by which of all entries each flush is done, and which were handed over. */
class Witness implements Disposable {
  readonly uring = IoUring.open(8);
  readonly flushes: Flushes;
  /** By slot: entries that the kernel had when the flush came; -1: none waits. */
  readonly came = new Int32Array(64).fill(-1);
  done = 0;
  calls = 0;
  #prepared = 0;
  readonly #ordinals = new Map<number, number>();
  #ordinal = -1;

  constructor(fd: number, again: () => boolean) {
    const { uring } = this;
    const addConsumer = uring.addConsumer.bind(uring);
    uring.addConsumer = (consumer) =>
      addConsumer({
        complete: (call, result, flags) => {
          this.#ordinal = this.#ordinals.get(call)!;
          consumer.complete(call, result, flags);
        },
      });
    const fsync = uring.fsync.bind(uring);
    uring.fsync = (consumer, call, file, dataOnly) => {
      this.#ordinals.set(call, this.#prepared++);
      this.calls++;
      fsync(consumer, call, file, dataOnly);
    };
    this.flushes = new Flushes(uring, [fd, fd], {
      complete: (slot) => {
        const came = this.came[slot]!;
        assert(came >= 0, `Flush ${slot} was done twice`);
        assert(this.#ordinal >= came, `Flush ${slot} by a call begun before`);
        this.came[slot] = -1;
        this.done++;
        // As where the kernel says to try again.
        if (again()) this.flush(slot);
      },
    });
  }

  flush(slot: number): void {
    this.came[slot] = this.#prepared - this.uring.pending;
    this.flushes.flush(slot);
  }

  /** Something else, that takes room. */
  nop(): void {
    this.#prepared++;
    this.uring.nop(0x7fff_ffff, 0);
  }

  [Symbol.dispose](): void {
    this.uring[Symbol.dispose]();
  }
}

Deno.test({
  name: "Flushes: no flush is done by a call that the kernel had before it",
  ignore: !hasUring,
  fn() {
    const prng = Prng.fromEnvironment("flushes");
    using file = createMemfd("flushes", 4096);
    using witness = new Witness(file.number, () => prng.below(20) === 0);
    const { uring, came } = witness;
    for (let step = 0; step < 10_000; step++) {
      const what = prng.below(8);
      const slot = prng.below(came.length);
      if (what < 3 && came[slot] === -1) witness.flush(slot);
      else if (what === 3) {
        for (let i = prng.below(12); i > 0; i--) witness.nop();
      } else if (what === 4) uring.submit(1 + prng.below(3));
      else if (what === 5) uring.submit();
      else {
        if (uring.inFlight > 0 && prng.below(2) === 0) uring.submitAndWait(1);
        uring.reap(1 + prng.below(4));
      }
    }
    while (uring.inFlight > 0) {
      uring.submitAndWait(1);
      uring.reap(64);
    }
    assertEquals([...came], new Array(came.length).fill(-1));
    // So many that it is no chance that they were well.
    assert(witness.done > 500 && witness.calls < witness.done);
  },
});
