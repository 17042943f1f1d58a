/**
 * Outcomes as TAP, the Test Anything Protocol, version 14.
 *
 * @module
 */
import { printable } from "../printable.ts";
import type { Outcome } from "./runner.ts";

/** The lines before the first outcome, where there are `count`. */
export function tapHeader(count: number): string {
  return `TAP version 14\n1..${count}`;
}

/** The lines of outcome number `number`, counted from 1. */
export function tapOutcome(number: number, outcome: Outcome): string {
  const { id, title, level, status, message } = outcome;
  const ok = status === "fail" ? "not ok" : "ok";
  const line = `${ok} ${number} - ${id}: ${title}`.replaceAll("#", "\\#");
  if (status === "pass") return line;
  if (status === "skip") return `${line} # SKIP ${oneLine(message)}`;
  // What is only recommended does not fail the whole.
  const todo = level === "MUST" ? "" : ` # TODO ${level}`;
  return [
    line + todo,
    "  ---",
    `  message: ${JSON.stringify(oneLine(message))}`,
    `  level: ${level}`,
    `  section: ${JSON.stringify(outcome.section)}`,
    "  ...",
  ].join("\n");
}

/** The line that ends everything at once, since `reason`. */
export function tapBailOut(reason: string): string {
  return `Bail out! ${oneLine(reason)}`;
}

function oneLine(text: string): string {
  return printable(text);
}
