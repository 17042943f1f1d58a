/**
 * Checks of back-ends in this process that are wrong on purpose.
 *
 * @module
 */
import type { DeviceKind, Outcome } from "../../../src/check/mod.ts";
import type { Device } from "../../../src/device/mod.ts";
import { Reactor } from "../../../src/io/reactor.ts";
import { Server } from "../../../src/server/server.ts";
import { type Defect, Proxy } from "./proxy.ts";
import { checksNamed, outcomesOf } from "./run_checks.ts";

/** What must not come is waited for so long. */
const TIMEOUT_MS = 600;
/** What must come may take so long. */
export const PATIENCE_MS = 20_000;

/** What is between the back-end and its front-end number `connection`. */
export type MakeDefect = (connection: number, dies: () => void) => Defect;

/** The outcomes of the checks `ids` on `device`, behind what `defect` does. */
export async function outcomesOn(
  device: Device,
  kind: DeviceKind,
  ids: readonly string[],
  makeDefect: MakeDefect | null = null,
  timeoutMs = TIMEOUT_MS,
): Promise<Outcome[]> {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-check-" });
  const socketPath = `${directory}/device`;
  const options = { socketPath, dataPlane: "inline" } as const;
  const server = await Server.open("wrong", device, options);
  const running = server.run();
  try {
    const path = `${directory}/proxy`;
    let connections = 0;
    await using _proxy = makeDefect === null ? null : new Proxy(
      path,
      socketPath,
      (dies) => makeDefect(++connections, dies),
    );
    return await outcomesOf({
      socketPath: makeDefect === null ? socketPath : path,
      device: kind,
      destructive: true,
      timeoutMs,
    }, checksNamed(ids));
  } finally {
    await server.stop();
    await running;
    await Reactor.main.idle();
    Deno.removeSync(directory, { recursive: true });
  }
}

/**
 * The outcomes of the checks `ids`, each on a device of its own, behind what
 * `defect` does. They wait for what does not come, so they run side by side.
 */
export async function outcomesOnEach(
  makeDevice: () => Device,
  kind: DeviceKind,
  ids: readonly string[],
  makeDefect: MakeDefect,
): Promise<Outcome[]> {
  const outcomes = await Promise.all(
    ids.map((id) => outcomesOn(makeDevice(), kind, [id], makeDefect)),
  );
  return outcomes.flat();
}

/** Of `outcomes`, those that did not fail. */
export function unnoticed(outcomes: readonly Outcome[]): string[] {
  return outcomes.filter(({ status }) => status !== "fail")
    .map(({ id, status, message }) => `${id}: ${status} ${message}`.trim());
}
