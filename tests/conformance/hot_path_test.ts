/**
 * A million chains, direct and indirect, with and without EVENT_IDX, with
 * buffers beyond 4 GiB: nothing is allocated for them, and code that was
 * compiled for them stays.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";

/** What V8 said while the million after the warm-up ran. */
async function traced(kind: string): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--allow-ffi",
      "--v8-flags=--expose-gc,--trace-gc,--trace-deopt",
      new URL("./hot_path.ts", import.meta.url).pathname,
      kind,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stderr)], [0, ""]);
  const lines = decoder.decode(stdout).split("\n");
  const marks = lines.flatMap((line, i) => line.includes("testing;") ? i : []);
  assertEquals(marks.length, 2, lines.join("\n"));
  return lines.slice(marks[0]! + 1, marks[1]);
}

for (const kind of ["split", "packed"]) {
  describe(`virtqueue hot path, ${kind}`, () => {
    it("a million chains cause no collection and no deoptimisation", async () => {
      assertEquals(await traced(kind), []);
    });
  });
}
