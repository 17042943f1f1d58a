/**
 * An interface that somebody else has when it is to be opened. In a network
 * namespace.
 *
 *     deno run --allow-all tap_taken_run.ts
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { openTap } from "../../devices/net/backend_tap.ts";
import { SystemError } from "../../src/errors.ts";
import { Tap } from "../../src/io/tap.ts";

if (import.meta.main) {
  const other = Tap.open("t0", 1);
  const error = await assertRejects(
    () => openTap("t0", undefined, 1, 0),
    SystemError,
  );
  assertEquals(error.code, "EBUSY");
  // It is tried at once, in vain; then the other one lets go.
  const opening = openTap("t0", undefined, 1, 60_000);
  other[Symbol.dispose]();
  using tap = await opening;
  assertEquals([tap.name, tap.isAttached()], ["t0", true]);
}
