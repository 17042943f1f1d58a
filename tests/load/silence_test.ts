/**
 * The driver that measures makes no garbage a request: it would measure its
 * own collections.
 */
import { assert, assertEquals } from "@std/assert";
import { Running, Scratch } from "../cli/program.ts";
import { uncounted } from "../support/uncounted.ts";

const RUN = new URL("silence_run.ts", import.meta.url).pathname;
/** Those after which the compiler knows all there is; one must be silent. */
const ROUNDS = 5;

const DEVICES = [
  ["block", ["--blk-null", "1G"]],
  ["net", ["--backend", "loopback"]],
] as const;

for (const [device, options] of DEVICES) {
  Deno.test(`a million requests of the ${device} load: no garbage collection`, async () => {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    await using backEnd = new Running(["--allow-ffi", "--allow-read"], [
      ...[device, "--socket-path", socket, ...options],
    ]);
    await backEnd.says("listens");
    // V8 prints through the C library, which would hold a pipe's lines back.
    const { stdout, success } = await new Deno.Command("stdbuf", {
      args: [
        ...["-oL", Deno.execPath(), "run", "-A", "--v8-flags=--trace-gc"],
        ...[RUN, device, socket, String(ROUNDS)],
      ],
      stderr: "inherit",
      ...uncounted(),
    }).output();
    assert(success);
    const text = new TextDecoder().decode(stdout);
    const rounds = text.split(/^(?=round of )/m);
    // Else the trace is off, and the silence means nothing.
    assert(collections(rounds[0]!) > 0, "V8 says nothing even at the start");
    assertEquals(rounds.length, ROUNDS + 1);
    for (const line of rounds.slice(1)) {
      assert(line.startsWith("round of 1000000, 0 failures\n"), line);
    }
    // What follows the end of a round is the next one's.
    const heard = rounds.slice(2, -1).map(collections);
    assert(heard.includes(0), `collections by round: ${heard}`);
  });
}

function collections(text: string): number {
  return text.split("\n").filter((line) =>
    /\bms: (Scavenge|Mark-Compact|Minor)/.test(line)
  ).length;
}
