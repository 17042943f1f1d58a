/**
 * What V8 says while a program of measured rounds runs.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import { uncounted } from "../support/uncounted.ts";
import { MARK, ROUNDS } from "./rounds.ts";

/** The command of a `script` beside this file whose rounds are to be traced. */
export function tracedCommand(script: string, ...args: string[]): string[] {
  const path = (name: string) => new URL(name, import.meta.url).pathname;
  return [
    // V8 writes its traces through the C library, which keeps them in a buffer
    // unless told not to: they would not be in order with the marks of the run.
    ...["stdbuf", "-oL", Deno.execPath(), "run", "--allow-all", "--no-check"],
    `--config=${path("../../deno.json")}`,
    "--v8-flags=--trace-gc,--trace-deopt,--expose-gc",
    path(script),
    ...args,
  ];
}

/** What V8 says in each round of the command `words`, after a warm-up. */
export async function traceRounds(
  words: readonly string[],
): Promise<string[][]> {
  const [program, ...args] = words;
  const { success, stdout, stderr } = await new Deno.Command(program!, {
    args,
    ...uncounted(),
  }).output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(success, true, new TextDecoder().decode(stderr));
  const [warmUp, ...rounds] = text.split(`${MARK}\n`);
  // Else the trace is off, and the silence means nothing.
  assertStringIncludes(warmUp!, "Mark-Compact");
  assertEquals(rounds.length, ROUNDS + 1, text);
  return rounds.slice(0, ROUNDS).map((round) =>
    round.split("\n").filter((line) => line !== "")
  );
}

/**
 * Fails unless V8 collected nothing in one of `rounds`. When the compiler has
 * learnt enough depends on what else the machine does. What goes on for ever, as
 * an object a request does, is in all rounds: twelve collections or more in each.
 */
export function assertQuiet(rounds: readonly string[][]): void {
  const quiet = rounds.find((lines) =>
    !lines.some((line) => /Scavenge|Mark-Compact/.test(line))
  );
  assert(quiet !== undefined, rounds.map((r) => r.join("\n")).join("\n\n"));
  // A rare branch that is taken for the first time costs one; a cause that
  // stays costs thousands.
  const bailouts = quiet.filter((line) => line.includes("bailout"));
  assertLess(bailouts.length, 10, bailouts.join("\n"));
}
