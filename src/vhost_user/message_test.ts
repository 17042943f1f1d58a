import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ProtocolError } from "../errors.ts";
import * as message from "./message.ts";

function hex(bytes: Uint8Array): string {
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function roundTrip<T>(
  payload: message.Payload<T>,
  size: number,
  value: T,
): void {
  const bytes = payload.encode(value);
  assertEquals(bytes.length, size);
  assertEquals(payload.size, size);
  assertEquals(payload.decode(bytes), value);
}

Deno.test("SET_VRING_ADDR has the used ring before the available ring", () => {
  const value = {
    index: 1,
    flags: 2,
    descriptor: 0x1000,
    used: 0x2000,
    available: 0x3000,
    log: 0x4000,
  };
  const bytes = message.vringAddress.encode(value);
  assertEquals(
    hex(bytes),
    "0100000002000000" + "0010000000000000" + "0020000000000000" +
      "0030000000000000" + "0040000000000000",
  );
  assertEquals(message.vringAddress.decode(bytes), value);
});

Deno.test("every payload comes back as it was encoded", () => {
  roundTrip(message.header, 12, { request: 7, flags: 5, size: 9 });
  roundTrip(message.u64, 8, { value: 0xffff_ffff_ffff_fffen });
  roundTrip(message.vringState, 8, { index: 0xffff_ffff, num: 3 });
  roundTrip(message.memoryRegion, 32, {
    guestAddress: 1,
    size: 2,
    userAddress: 2 ** 47,
    mmapOffset: 4,
  });
  roundTrip(message.singleMemoryRegion, 40, {
    guestAddress: 1,
    size: 2,
    userAddress: 2 ** 47,
    mmapOffset: 4,
  });
  roundTrip(message.configHeader, 12, { offset: 1, size: 2, flags: 1 });
  roundTrip(message.logDescription, 16, { size: 1, offset: 4096 });
  roundTrip(message.iotlbMessage, 32, {
    iova: 1,
    size: 2,
    userAddress: 3,
    permissions: 3,
    type: 2,
  });
  roundTrip(message.vringArea, 24, { vring: 0x101n, size: 4096, offset: 1 });
  roundTrip(message.inflightDescription, 24, {
    mmapSize: 1,
    mmapOffset: 2,
    queueCount: 3,
    queueSize: 4,
  });
  roundTrip(message.deviceStateTransfer, 8, { direction: 1, phase: 0 });
  roundTrip(message.sharedMemoryMap, 40, {
    id: 5,
    fdOffset: 1,
    regionOffset: 2,
    size: 3,
    flags: 1n,
  });
  roundTrip(message.vringFd, 8, { index: 0xfe00n, noFd: true });
});

Deno.test("the region of ADD_MEM_REG starts after 8 bytes of padding", () => {
  const region = { guestAddress: 1, size: 2, userAddress: 3, mmapOffset: 4 };
  assertEquals(
    hex(message.singleMemoryRegion.encode(region)),
    "0000000000000000" + hex(message.memoryRegion.encode(region)),
  );
});

Deno.test("SHMEM_MAP has 7 bytes of padding after the id", () => {
  const map = { id: 9, fdOffset: 1, regionOffset: 2, size: 3, flags: 1n };
  assertEquals(
    hex(message.sharedMemoryMap.encode(map)),
    "0900000000000000" + "0100000000000000" + "0200000000000000" +
      "0300000000000000" + "0100000000000000",
  );
});

Deno.test("an address of 2^53 or more arrives too large for any limit", () => {
  const bytes = new Uint8Array(32).fill(0xff);
  const region = message.memoryRegion.decode(bytes);
  assertEquals(Number.isSafeInteger(region.guestAddress), false);
  assertEquals(region.size > Number.MAX_SAFE_INTEGER, true);
});

Deno.test("a payload that is too short says what is wanted", () => {
  const error = assertThrows(
    () => message.u64.decode(new Uint8Array(7)),
    ProtocolError,
  );
  assertStringIncludes(error.message, "7 bytes, at least 8");
});

Deno.test("a memory table whose count is not its size is refused", () => {
  const region = { guestAddress: 1, size: 2, userAddress: 3, mmapOffset: 4 };
  const bytes = message.encodeMemoryTable([region, region]);
  assertEquals(message.decodeMemoryTable(bytes), [region, region]);
  for (const count of [0, 1, 3, 0xffff_ffff]) {
    new DataView(bytes.buffer).setUint32(0, count, true);
    assertThrows(() => message.decodeMemoryTable(bytes), ProtocolError);
  }
});

Deno.test("a memory table may have room for more regions, of zeros", () => {
  const region = { guestAddress: 1, size: 2, userAddress: 3, mmapOffset: 4 };
  const { size } = message.memoryRegion;
  const whole = new Uint8Array(8 + 3 * size);
  whole.set(message.encodeMemoryTable([region]));
  for (const room of [0, 1, 2]) {
    const bytes = whole.subarray(0, 8 + (1 + room) * size);
    assertEquals(message.decodeMemoryTable(bytes), [region]);
  }
  const cut = whole.subarray(0, 8 + 2 * size - 1);
  assertThrows(() => message.decodeMemoryTable(cut), ProtocolError);
  whole[8 + 3 * size - 1] = 1;
  assertThrows(() => message.decodeMemoryTable(whole), ProtocolError);
});

Deno.test("[C61] GET_SHMEM_CONFIG counts the sizes that are not zero", () => {
  const bytes = message.encodeSharedMemoryConfig([4096, 0, 8192]);
  assertEquals(bytes.length, 2056);
  const view = new DataView(bytes.buffer);
  assertEquals(view.getUint32(0, true), 2);
  assertEquals(view.getBigUint64(8, true), 4096n);
  assertEquals(view.getBigUint64(16, true), 0n);
  assertEquals(view.getBigUint64(24, true), 8192n);
  assertEquals(view.getBigUint64(8 + 255 * 8, true), 0n);
});

Deno.test("a message is its header and its payload in one piece", () => {
  const bytes = message.encodeMessage(11, 5, Uint8Array.of(1, 2, 3));
  assertEquals(hex(bytes), "0b0000000500000003000000" + "010203");
});
