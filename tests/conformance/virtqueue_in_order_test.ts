/**
 * VIRTIO_F_IN_ORDER: whatever the order in which a device is done, the driver
 * gets its chains back in the one in which it made them available.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Prng } from "../../src/testing/mod.ts";
import { RING_KINDS, takeUsed, writable } from "./ring_rig.ts";

const AT = 0x20000;

for (const kind of RING_KINDS) {
  describe(`virtqueue in order, ${kind.name}`, () => {
    it("holds back what is done before its turn", () => {
      const rig = kind.make({ inOrder: true, base: 65534, eventIndex: true });
      const { driver, queue } = rig;
      const heads = [1, 2, 3, 4].map(() => driver.add([writable(AT, 8)]));
      driver.publish();
      for (let i = 0; i < 4; i++) assert(queue.pop());
      const given = (): number[] => {
        driver.armInterrupt();
        const called = queue.flush();
        const used = takeUsed(driver);
        assertEquals(called, used.length > 0, "a call for what is there");
        for (const { head, written } of used) assertEquals(written, head + 1);
        return used.map(({ head }) => head);
      };
      const give = (i: number) => queue.push(heads[i]!, heads[i]! + 1);
      give(2);
      assertEquals(given(), []);
      assertEquals(queue.inFlight, 3);
      give(0);
      assertEquals(given(), [heads[0]]);
      give(3);
      assertEquals(given(), []);
      give(1);
      assertEquals(given(), [heads[1], heads[2], heads[3]]);
      assertEquals(queue.inFlight, 0);
    });

    it("gives malformed chains back in their turn", () => {
      const rig = kind.make({ inOrder: true });
      const { driver, queue } = rig;
      const sound = driver.add([writable(AT, 8)]);
      const bad = driver.add([writable(0xdead_0000_0000n, 8)]);
      const next = driver.add([writable(AT, 8)]);
      driver.publish();
      assert(queue.pop() && queue.pop());
      assertEquals([queue.chain.head, queue.malformed], [next, 1]);
      queue.flush();
      assertEquals(takeUsed(driver), []);
      queue.push(next, 8);
      queue.push(sound, 8);
      queue.flush();
      assertEquals(takeUsed(driver), [
        { head: sound, written: 8 },
        { head: bad, written: 0 },
        { head: next, written: 8 },
      ]);
    });

    it("a chain that is held back is neither undone nor given back again", () => {
      const rig = kind.make({ inOrder: true });
      const { driver, queue } = rig;
      const first = driver.add([writable(AT, 8)]);
      const second = driver.add([writable(AT, 8)]);
      driver.publish();
      assert(queue.pop() && queue.pop());
      queue.push(second, 8);
      assertThrows(() => queue.undoPop(), Error, "popped last");
      assertThrows(() => queue.push(second, 8), Error, "once");
      queue.push(first, 8);
      queue.flush();
      assertEquals(takeUsed(driver).map(({ head }) => head), [first, second]);
    });

    it("a ring that is full of what is held back waits", () => {
      const rig = kind.make({ inOrder: true });
      const { driver, queue } = rig;
      const heads = Array.from(
        { length: 8 },
        () => driver.add([writable(AT, 8)]),
      );
      driver.publish();
      for (let i = 0; i < 8; i++) assert(queue.pop());
      for (const head of heads.slice(1)) queue.push(head, 8);
      queue.flush();
      assertEquals([queue.inFlight, takeUsed(driver).length], [1, 0]);
      assert(!queue.hasAvailable() && !queue.pop());
      assertEquals(queue.broken, "");
      queue.push(heads[0]!, 8);
      queue.flush();
      assertEquals(takeUsed(driver).map(({ head }) => head), heads);
    });

    it("keeps the order over many laps, some chains undone", () => {
      const prng = Prng.fromEnvironment("in order");
      const { driver, queue } = kind.make({ inOrder: true, size: 16 });
      const added: number[] = [];
      let inFlight: number[] = [];
      let taken = 0;
      while (taken < 5000) {
        const count = 1 + prng.below(3);
        if (count <= driver.freeCount) {
          const at = prng.below(10) === 0 ? 0xdead_0000_0000n : AT;
          added.push(driver.add(Array(count).fill(writable(at, 8))));
        }
        driver.publish();
        while (prng.below(3) > 0) {
          const { malformed } = queue;
          if (!queue.pop()) break;
          inFlight.push(queue.chain.head);
          if (queue.malformed > malformed || prng.below(6) > 0) continue;
          queue.undoPop();
          inFlight.pop();
        }
        while (inFlight.length > 0 && prng.below(3) > 0) {
          const head = inFlight[prng.below(inFlight.length)]!;
          inFlight = inFlight.filter((other) => other !== head);
          queue.push(head, 8);
        }
        queue.flush();
        for (const { head } of takeUsed(driver)) {
          assertEquals(head, added.shift());
          taken++;
        }
      }
      assertEquals(queue.broken, "");
    });
  });
}
