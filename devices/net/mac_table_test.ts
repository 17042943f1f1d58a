import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../src/testing/prng.ts";
import { AGEING_S, createMacTable, MacTable, NOWHERE } from "./mac_table.ts";

const NOW = 1_700_000_000;

function withTable(body: (table: MacTable, other: MacTable) => void): void {
  using fd = createMacTable();
  using table = new MacTable(fd.number);
  using other = new MacTable(fd.number);
  body(table, other);
}

Deno.test("an address is where it was heard last, for every thread", () =>
  withTable((table, other) => {
    assertEquals(table.lookUp(0x5254, 0x12, NOW), NOWHERE);
    table.learn(0x5254, 0x12, 0, NOW);
    table.learn(0x5254, -1, 254, NOW);
    assertEquals(other.lookUp(0x5254, 0x12, NOW), 0);
    assertEquals(other.lookUp(0x5254, 0xffff_ffff, NOW), 254);
    assertEquals(other.lookUp(0x5255, 0x12, NOW), NOWHERE);
    other.learn(0x5254, 0x12, 7, NOW + 1);
    assertEquals(table.lookUp(0x5254, 0x12, NOW + 1), 7);
  }));

Deno.test("an address that is not heard of any more is forgotten", () =>
  withTable((table) => {
    table.learn(2, 3, 1, NOW);
    assertEquals(table.lookUp(2, 3, NOW + AGEING_S - 1), 1);
    assertEquals(table.lookUp(2, 3, NOW + AGEING_S), NOWHERE);
    table.learn(2, 3, 1, NOW + AGEING_S);
    assertEquals(table.lookUp(2, 3, NOW + AGEING_S), 1);
  }));

Deno.test("a port that leaves takes its addresses along", () =>
  withTable((table) => {
    for (let i = 0; i < 100; i++) table.learn(2, i, i % 3, NOW);
    table.forget(1);
    for (let i = 0; i < 100; i++) {
      assertEquals(table.lookUp(2, i, NOW), i % 3 === 1 ? NOWHERE : i % 3);
    }
  }));

Deno.test("a flood of addresses costs no memory, and the newest are known", () =>
  withTable((table) => {
    const prng = new Prng(4);
    for (let i = 0; i < 100_000; i++) {
      table.learn(prng.below(0x10000), prng.below(2 ** 32), i % 200, NOW + i);
    }
    table.learn(0x5254, 1, 9, NOW + 100_000);
    assertEquals(table.lookUp(0x5254, 1, NOW + 100_000), 9);
  }));

Deno.test("an entry never tells half of another", () =>
  withTable((table) => {
    // All of one bucket: five addresses for four places.
    const lows: number[] = [];
    for (let low = 0; lows.length < 5; low++) {
      if (Math.imul(low ^ (2 << 7), 0x9e3779b1) >>> 22 === 0) lows.push(low);
    }
    for (let round = 0; round < 100; round++) {
      for (const [i, low] of lows.entries()) {
        table.learn(2, low, i, NOW + round);
        const found = lows.map((low) => table.lookUp(2, low, NOW + round));
        assert(found.every((port, i) => port === i || port === NOWHERE));
        assertEquals(found[i], i);
      }
    }
  }));
