/**
 * A million chains, direct and indirect, with and without EVENT_IDX, with
 * buffers beyond 4 GiB: nothing is allocated for them, and code that was
 * compiled for them stays.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { uncounted } from "../support/uncounted.ts";

/** What rings do beside their work, see hot_path.ts. */
const MODES = ["regions", "inflight", "logged", "scattered", "everything"];

/** Megabytes that may be new on the heap, of anything but chains. */
const GROWTH_MAX = 0.25;

/** What V8 said in each of `parts` of `count` chains, after as many to warm up. */
async function traced(
  kind: string,
  mode: string,
  count: number,
  parts: number,
): Promise<string[][]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--allow-ffi",
      "--v8-flags=--expose-gc,--trace-gc,--trace-deopt",
      new URL("./hot_path.ts", import.meta.url).pathname,
      ...[kind, mode, `${count}`, `${parts}`],
    ],
    ...uncounted({ NO_COLOR: "1" }),
  }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stderr)], [0, ""]);
  const lines = decoder.decode(stdout).split("\n");
  const marks = lines.flatMap((line, i) => line.includes("testing;") ? i : []);
  assertEquals(marks.length, parts + 1, lines.join("\n"));
  return marks.slice(1).map((mark, i) => {
    const said = lines.slice(marks[i]! + 1, mark);
    // Less than what makes V8 collect is seen by what the next one found.
    const growth = heapOf(lines[mark]!)[0] - heapOf(lines[marks[i]!]!)[1];
    if (growth < GROWTH_MAX) return said;
    return [...said, `The heap has grown by ${growth.toFixed(1)} MB`];
  });
}

/** Megabytes in use before and after the collection that `line` tells of. */
function heapOf(line: string): [number, number] {
  const found = /Mark-Compact ([\d.]+) \([\d.]+\) -> ([\d.]+)/.exec(line);
  assert(found !== null, line);
  return [Number(found[1]), Number(found[2])];
}

for (const kind of ["split", "packed"]) {
  describe(`virtqueue hot path, ${kind}`, () => {
    it("a million chains cause no collection and no deoptimisation", async () => {
      assertEquals(await traced(kind, "plain", 1_000_000, 1), [[]]);
    });

    for (const mode of MODES) {
      it(`300,000 chains cause none either (${mode})`, async () => {
        // When the compiler has learnt enough depends on what else the machine
        // does. What goes on for ever is in all parts.
        const parts = await traced(kind, mode, 300_000, 3);
        const isQuiet = parts.some((lines) => lines.length === 0);
        assert(isQuiet, parts.map((lines) => lines.join("\n")).join("\n\n"));
      });
    }
  });
}
