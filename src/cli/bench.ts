/**
 * `ringside bench`: drives a back-end and measures it.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import type { ToolOutput } from "./tools.ts";

/** Runs the tool; see {@linkcode ToolModule}. */
export function run(_args: string[], _output: ToolOutput): Promise<number> {
  return Promise.reject(
    new UsageError("There is no load: give one of block, net, rng"),
  );
}
