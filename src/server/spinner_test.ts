import { assertEquals } from "@std/assert";
import { Crowd } from "./crowd.ts";
import { Spinner } from "./spinner.ts";

/** A spinner whose clock the test turns. */
class Scene implements Disposable {
  /** The spinner's thread, and another one, on one processor. */
  readonly crowd = new Crowd(undefined, 1);
  readonly other = new Crowd(this.crowd.memory, 1);
  readonly spinner = new Spinner(this.crowd);
  readonly #real = performance.now;
  #now = 1000;

  constructor() {
    performance.now = () => this.#now;
    this.crowd.join();
    this.other.join();
  }

  /** How long a thread without work spins, in steps of 0.001 ms a look. */
  spin(): number {
    const from = this.#now;
    this.spinner.worked();
    while (this.spinner.again()) this.#now += 0.001;
    return this.#now - from;
  }

  /** Spins in vain, then parks and is woken after `milliseconds`. */
  sleep(milliseconds: number): number {
    const spun = this.spin();
    this.spinner.park();
    this.#now += milliseconds;
    this.spinner.unpark();
    return spun;
  }

  [Symbol.dispose](): void {
    performance.now = this.#real;
  }
}

const LONG = 10;
const SOON = 0.1;
const AT_ONCE = 0.01;

Deno.test("Spinner spins for a bounded time", () => {
  using scene = new Scene();
  const spun = scene.spin();
  assertEquals(spun >= 0.05 && spun < 0.06, true, `${spun} ms`);
});

Deno.test("Spinner stops spinning after long sleeps, and begins again when work comes soon", () => {
  using scene = new Scene();
  for (let i = 0; i < 6; i++) scene.sleep(LONG);
  assertEquals(scene.spin(), 0);
  scene.sleep(SOON);
  const first = scene.spin();
  assertEquals(first > 0 && first < 0.02, true, `${first} ms`);
  for (let i = 0; i < 6; i++) scene.sleep(SOON);
  assertEquals(scene.spin() >= 0.05, true);
});

Deno.test("Spinner leaves the processor to a driver that only runs while it parks, and tries again later", () => {
  using scene = new Scene();
  let spins = 0;
  for (let i = 0; i < 100; i++) if (scene.sleep(AT_ONCE) > 0) spins++;
  assertEquals(spins, 3);
  // The driver has a processor of its own again.
  for (let i = 0; i < 120; i++) scene.sleep(SOON);
  assertEquals(scene.spin() > 0, true);
});

Deno.test("Spinner goes on spinning where work only now and then comes right after a park", () => {
  using scene = new Scene();
  for (let i = 0; i < 50; i++) {
    scene.sleep(AT_ONCE);
    scene.sleep(AT_ONCE);
    scene.sleep(SOON);
  }
  assertEquals(scene.spin() >= 0.05, true);
});

Deno.test("Spinner leaves the processor to threads that have work, and learns nothing from that", () => {
  using scene = new Scene();
  const busy = () => scene.other.busy();
  for (const milliseconds of [AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE, SOON]) {
    busy();
    assertEquals(scene.sleep(milliseconds), 0);
  }
  // The other one has had nothing for a while.
  scene.sleep(LONG);
  assertEquals(scene.spin() >= 0.02, true);
});
