import { assert, assertEquals, assertThrows } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { DriverMemory } from "./driver_memory.ts";
import { SplitDriver, type SplitDriverOptions } from "./split_driver.ts";

function make(size: number, options: SplitDriverOptions = {}) {
  const memory = DriverMemory.plain(1 << 16);
  const driver = new SplitDriver(memory, size, options);
  const word = (address: number, index: number) => {
    const [view, offset] = memory.view(address);
    return view.getUint16(offset + 2 * index, true);
  };
  /** Writes what a device writes: used entries, then the index. */
  const give = (...used: { head: number; written: number }[]) => {
    const [view, offset] = memory.view(driver.deviceArea);
    let index = view.getUint16(offset + 2, true);
    for (const { head, written } of used) {
      const at = offset + 4 + 8 * (index++ % size);
      view.setUint32(at, head, true);
      view.setUint32(at + 4, written, true);
    }
    view.setUint16(offset + 2, index, true);
  };
  return { memory, driver, word, give };
}

const READ = { address: 0x10f00, size: 3, writable: false };
const WRITE = { address: 0x10f10, size: 5, writable: true };

describe("SplitDriver", () => {
  it("lays chains out as the specification says", () => {
    const { memory, driver, word } = make(4);
    const head = driver.add([READ, WRITE]);
    assertEquals([head, driver.freeCount], [0, 2]);
    assertEquals(word(driver.driverArea, 1), 0);
    assert(driver.publish());
    assertEquals([word(driver.driverArea, 1), word(driver.driverArea, 2)], [
      1,
      head,
    ]);
    const bytes = memory.read(driver.descriptorArea, 32);
    const first = [0, 0x0f, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0];
    const second = [0x10, 0x0f, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0];
    assertEquals([...bytes], [...first, ...second]);
  });

  it("lays indirect tables out, and uses them again", () => {
    const { memory, driver, give } = make(4, { indirect: true });
    let table = 0;
    for (let i = 0; i < 3; i++) {
      const head = driver.add([READ, WRITE], { indirect: true });
      assertEquals(driver.freeCount, 3);
      const [view, at] = memory.view(driver.descriptorArea + 16 * head);
      assertEquals(view.getUint32(at + 8, true), 32);
      assertEquals(view.getUint16(at + 12, true), 4);
      const address = view.getUint32(at, true);
      if (i > 0) assertEquals(address, table);
      table = address;
      assertEquals(memory.read(table + 12, 4), Uint8Array.of(1, 0, 1, 0));
      assertEquals(memory.read(table + 28, 4), Uint8Array.of(2, 0, 0, 0));
      driver.publish();
      give({ head, written: i });
      assertEquals(driver.nextUsed(), { head, written: i });
    }
  });

  it("takes chains back and frees their descriptors", () => {
    const { driver, give } = make(4, { base: 65535 });
    const one = driver.add([READ, WRITE]);
    const two = driver.add([READ, WRITE]);
    assertThrows(() => driver.add([READ]), RangeError, "does not fit");
    assertThrows(() => driver.add([]), RangeError, "does not fit");
    driver.publish();
    assertEquals(driver.nextUsed(), null);
    give({ head: two, written: 5 }, { head: one, written: 0 });
    assertEquals(driver.nextUsed(), { head: two, written: 5 });
    assertEquals(driver.nextUsed(), { head: one, written: 0 });
    assertEquals(driver.nextUsed(), null);
    assertEquals([driver.freeCount, driver.usedIndex], [4, 1]);
  });

  it("kicks by the flag without EVENT_IDX", () => {
    const { memory, driver } = make(4);
    assert(!driver.publish(), "nothing was published");
    driver.add([READ]);
    assert(driver.publish() && driver.kickNeeded());
    memory.write(driver.deviceArea, Uint8Array.of(1, 0));
    driver.add([READ]);
    assert(!driver.publish() && !driver.kickNeeded());
    assertEquals(driver.usedFlags, 1);
  });

  it("kicks by avail_event with EVENT_IDX, over the wrap too", () => {
    const { memory, driver } = make(8, { eventIndex: true, base: 65534 });
    assertEquals(driver.availEvent, 65534);
    driver.add([READ]);
    assert(driver.publish());
    driver.add([READ]);
    assert(!driver.publish());
    // avail_event = 1: the entries 0 and 1 are published together.
    memory.write(driver.deviceArea + 4 + 64, Uint8Array.of(1, 0));
    driver.add([READ]);
    driver.add([READ]);
    assert(driver.publish());
    assert(!driver.publish());
  });

  it("asks for calls", () => {
    const flags = make(4);
    flags.driver.setNoInterrupt(true);
    assertEquals(flags.word(flags.driver.driverArea, 0), 1);
    assert(!flags.driver.armInterrupt());
    assertEquals(flags.word(flags.driver.driverArea, 0), 0);
    const events = make(4, { eventIndex: true });
    const head = events.driver.add([READ]);
    events.driver.publish();
    events.give({ head, written: 0 });
    assert(events.driver.armInterrupt());
    events.driver.nextUsed();
    assert(!events.driver.armInterrupt());
    assertEquals(events.word(events.driver.driverArea, 2 + 4), 1);
  });

  it("writes broken rings", () => {
    const { memory, driver, word } = make(4);
    const address = 2n ** 64n - 1n;
    driver.rawDescriptor(3, { address, size: 1, flags: 0xffff, next: 9 });
    const bytes = memory.read(driver.descriptorArea + 48, 16);
    const expected = [1, 0, 0, 0, 255, 255, 9, 0];
    assertEquals([...bytes], [...Array(8).fill(255), ...expected]);
    driver.rawAvailable(0xffff);
    driver.publish();
    assertEquals(word(driver.driverArea, 2), 0xffff);
    driver.rawAvailableIndex(0x1234);
    assertEquals(word(driver.driverArea, 1), 0x1234);
    driver.rawUsedIndex(77);
    assertEquals(driver.publishedUsedIndex, 77);
    driver.rawUsedEvent(3);
    assertEquals(word(driver.driverArea, 6), 3);
    assertEquals(driver.rawUsedElement(0), { head: 0, written: 0 });
  });
});
