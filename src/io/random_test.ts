import { assert, assertEquals } from "@std/assert";
import { EFAULT, IOV_MAX } from "../ffi/abi.ts";
import { Mapping } from "../ffi/mapping.ts";
import { IovecList } from "./iovec.ts";
import { KernelRandom } from "./random.ts";

/** Whether `bytes` look random: any pattern of that size would be a miracle. */
function isFilled(bytes: Uint8Array): boolean {
  return new Set(bytes).size > 16;
}

Deno.test("one element and several are filled, and nothing beside them", () => {
  using random = KernelRandom.open();
  using memory = Mapping.anonymous(4096);
  using list = new IovecList(3);
  const bytes = new Uint8Array(memory.buffer);
  list.set(0, memory.address + 64, 64);
  assertEquals(random.fill(list, 0, 1), 64);
  assert(isFilled(bytes.subarray(64, 128)));
  assertEquals(bytes.findIndex((byte) => byte !== 0) >= 64, true);
  assertEquals(bytes.subarray(128).some((byte) => byte !== 0), false);
  list.set(1, memory.address + 256, 100);
  list.set(2, memory.address + 1024, 200);
  assertEquals(random.fill(list, 1, 2), 300);
  assert(isFilled(bytes.subarray(256, 356)));
  assert(isFilled(bytes.subarray(1024, 1224)));
  assertEquals(bytes.subarray(356, 1024).some((byte) => byte !== 0), false);
  assertEquals(bytes.subarray(1224).some((byte) => byte !== 0), false);
});

Deno.test("more elements than the kernel takes are filled in part", () => {
  using random = KernelRandom.open();
  using memory = Mapping.anonymous(4096);
  using list = new IovecList(IOV_MAX + 10);
  for (let i = 0; i < list.capacity; i++) list.set(i, memory.address + i, 1);
  assertEquals(random.fill(list, 0, list.capacity), IOV_MAX);
});

Deno.test("memory that isn't there is an error, no signal", () => {
  using random = KernelRandom.open();
  using list = new IovecList(2);
  list.set(0, 4096, 64);
  list.set(1, 4096, 64);
  assertEquals(random.fill(list, 0, 1), -EFAULT);
  assertEquals(random.fill(list, 0, 2), -EFAULT);
});
