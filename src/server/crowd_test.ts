import { assertEquals } from "@std/assert";
import { Crowd } from "./crowd.ts";

/** Threads of one process that has two processors. */
function crowds(count: number): Crowd[] {
  const first = new Crowd(undefined, 2);
  const all = [first];
  while (all.length < count) all.push(new Crowd(first.memory, 2));
  for (const crowd of all) crowd.join();
  return all;
}

/** Does `work` with a clock that it sets. */
function withClock(work: (set: (milliseconds: number) => void) => void): void {
  const real = performance.now;
  try {
    work((milliseconds) => performance.now = () => milliseconds);
  } finally {
    performance.now = real;
  }
}

Deno.test("Crowd is full with more threads busy than there are processors", () => {
  withClock((set) => {
    const [a, b, c] = crowds(3) as [Crowd, Crowd, Crowd];
    const answers = () => [a, b, c].map((one) => one.isFull());
    set(1000);
    a.busy();
    b.busy();
    set(1001);
    assertEquals(answers(), [false, false, false]);
    c.busy();
    assertEquals(answers(), [true, true, true]);
    // Two of them have had nothing for a while.
    set(1010);
    a.busy();
    assertEquals(answers(), [false, false, false]);
  });
});

Deno.test("Crowd knows nobody who did not join", () => {
  withClock((set) => {
    set(5);
    const [a, b] = crowds(2) as [Crowd, Crowd];
    const stranger = new Crowd(a.memory, 2);
    for (const one of [a, b, stranger]) one.busy();
    assertEquals(a.isFull(), false);
  });
});

Deno.test("Crowd has room for more threads than it tells apart", () => {
  withClock((set) => {
    set(5);
    const all = crowds(200);
    for (const one of all.slice(0, 2)) one.busy();
    assertEquals(all.at(-1)!.isFull(), false);
    for (const one of all.slice(2)) one.busy();
    assertEquals(all[0]!.isFull(), true);
  });
});
