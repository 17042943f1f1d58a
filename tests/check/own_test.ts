/**
 * Every check on our own back-ends.
 */
import { assertEquals } from "@std/assert";
import type { CheckOptions, DeviceKind } from "../../src/check/mod.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { socketPathOf, startServing } from "../vm/serving.ts";
import { complaintsOf, outcomesOf, skippedOf } from "./support/run_checks.ts";

const DISK_SIZE = 8 << 20;
/** Checks that have nothing to look at: all the others were run. */
const SKIPPED: Readonly<Record<DeviceKind, readonly string[]>> = {
  block: ["block-config/size-max", "block/read-only"],
  net: ["ring/all-at-once", "ring/last-only", "reset/reset-rests"],
  rng: [
    ...["stable", "before-features", "in-parts", "beyond", "empty"],
    ...["read-only", "write-beyond"],
  ].map((name) => `config/${name}`).concat([
    ...["ring/all-at-once", "ring/last-only"],
    ...["ring-size/4096", "ring-size/32768"],
  ]),
};

/** Serves one device of each kind, and checks them side by side. */
async function checkAll(
  plane: string,
  ring: "split" | "packed",
): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-check-" });
  try {
    const file = `${directory}/disk.img`;
    Deno.writeFileSync(file, new Uint8Array());
    Deno.truncateSync(file, DISK_SIZE);
    const shared = { "data-plane": plane };
    const rings = { ...shared, "queue-size": 32768 };
    await using backEnd = await startServing(directory, [
      {
        device: "block",
        name: "block",
        "blk-file": file,
        "num-queues": 4,
        ...rings,
      },
      {
        device: "net",
        name: "net",
        backend: "loopback",
        "queue-pairs": 2,
        ...rings,
      },
      { device: "rng", name: "rng", ...shared },
    ]);
    const kinds: DeviceKind[] = ["block", "net", "rng"];
    await Promise.all(kinds.map((device) =>
      passes({
        device,
        ring,
        socketPath: socketPathOf(directory, device),
        destructive: true,
        timeoutMs: 20_000,
      })
    ));
    assertEquals((await backEnd.stop()).code, 0, backEnd.log);
  } finally {
    Deno.removeSync(directory, { recursive: true });
    await Reactor.main.idle();
  }
}

async function passes(options: CheckOptions): Promise<void> {
  const outcomes = await outcomesOf(options);
  assertEquals(complaintsOf(outcomes), [], `Of ${options.device}`);
  // On packed rings the checks that write the fields of split ones are left out.
  if (options.ring === "packed") return;
  assertEquals(skippedOf(outcomes).sort(), [...SKIPPED[options.device]].sort());
}

for (const plane of ["inline", "worker"]) {
  Deno.test(`our back-ends on the ${plane} plane pass every check`, async () => {
    await checkAll(plane, "split");
  });
}

Deno.test("our back-ends pass every check on packed rings", async () => {
  await checkAll("worker", "packed");
});
