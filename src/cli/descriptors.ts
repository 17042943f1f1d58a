/**
 * Whether there are descriptors enough for the workers that are asked for.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { descriptorLimit } from "../io/descriptor_limit.ts";
import type { ServerValues } from "./common_options.ts";

/** Measured: a worker takes 8 to start; the rest is for its rings. */
const EACH_WORKER = 12;
/** Measured: 27 for all else of a process that starts. */
const PROCESS = 32;

/**
 * Checks that the workers of `servers` can be started. Deno would end the
 * process where there is no descriptor left for one, without a word of ours.
 *
 * @throws {UsageError} what is, what was wanted
 */
export async function checkDescriptors(
  servers: readonly ServerValues[],
): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "read" });
  let workers = 0;
  for (const { "data-plane": plane, "queue-threads": threads } of servers) {
    const isWorker = plane === "worker" ||
      (plane === "auto" && state === "granted");
    if (isWorker) workers += threads;
  }
  if (workers === 0) return;
  const needed = PROCESS + EACH_WORKER * workers;
  const limit = descriptorLimit();
  if (limit >= needed) return;
  throw new UsageError(
    `${workers === 1 ? "A worker needs" : `${workers} workers need`} a limit ` +
      `of ${needed} open files, and it is ${limit}: raise it (ulimit -n ` +
      `${needed}), or use ${workers === 1 ? "" : "fewer --queue-threads or "}` +
      "--data-plane inline",
  );
}
