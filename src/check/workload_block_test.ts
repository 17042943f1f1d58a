import { assertEquals } from "@std/assert";
import { blockSizeOf } from "./workload_block.ts";

Deno.test("the unit of a disk is its block size, unless that can be none", () => {
  const config = new DataView(new ArrayBuffer(60));
  const unit = (said: number, offered = true): number => {
    config.setUint32(20, said, true);
    return blockSizeOf({ offers: () => offered, config });
  };
  for (const said of [512, 4096, 1 << 20]) assertEquals(unit(said), said);
  assertEquals(unit(4096, false), 512);
  for (const said of [0, 1, 511, 513, 4095, 1 << 21, 2 ** 31, 2 ** 32 - 1]) {
    assertEquals(unit(said), 512, `blk_size ${said}`);
  }
});
