import { assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../errors.ts";
import { decodeState, encodeState, type StateKind } from "./state.ts";

const KIND: StateKind = { name: "example", version: 3, size: 8 };

function example(kind = KIND): Uint8Array<ArrayBuffer> {
  return encodeState(kind, (view) => view.setUint32(4, 0xdead_beef, true));
}

function refused(state: Uint8Array, reason: string): void {
  assertThrows(() => decodeState(KIND, state), ProtocolError, reason);
}

Deno.test("a state comes back as it was", () => {
  const state = example();
  assertEquals(state.length, 40);
  const view = decodeState(KIND, state);
  assertEquals([view.byteLength, view.getUint32(4, true)], [8, 0xdead_beef]);
  const within = new Uint8Array(50);
  within.set(state, 5);
  const moved = decodeState(KIND, within.subarray(5, 45));
  assertEquals(moved.getUint32(4, true), 0xdead_beef);
});

Deno.test("[H19] a state of something else is refused", () => {
  refused(example({ ...KIND, name: "exampl" }), "that of a exampl device");
  refused(example({ ...KIND, name: "" }), "that of a  device");
  refused(example({ ...KIND, version: 4 }), "of version 4, wanted 3");
  refused(example({ ...KIND, version: 2 }), "of version 2, wanted 3");
  refused(example({ ...KIND, size: 12 }), "has 44 bytes, wanted 40");
  const strange = example({ ...KIND, name: "0123456789abcdef" });
  refused(strange, "a 0123456789abcdef device");
});

Deno.test("[H19] a state that is not whole is refused, wherever it ends", () => {
  const state = example();
  for (let size = 0; size < state.length; size++) {
    const part = state.subarray(0, size);
    assertThrows(() => decodeState(KIND, part), ProtocolError);
  }
  const longer = new Uint8Array(41);
  longer.set(state);
  refused(longer, "has 41 bytes, wanted 40");
});

Deno.test("[H19] garbage is no state", () => {
  refused(new Uint8Array(0), "is not one of ringside");
  refused(new Uint8Array(4096).fill(0xff), "is not one of ringside");
  for (let at = 0; at < 32; at++) {
    const state = example();
    state[at]! ^= 0x80;
    assertThrows(() => decodeState(KIND, state), ProtocolError);
  }
});
