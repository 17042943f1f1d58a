/**
 * Ctrl-C while something is measured: the first one ends the run where it next
 * asks, so that processes, namespaces and files go as at any end.
 *
 * @module
 */

/** As shells have it of a program that Ctrl-C ended. */
export const EXIT_INTERRUPTED = 130;

const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** `deno task` passes on a Ctrl-C that the terminal has sent to all already. */
const TWICE_MS = 1000;

let interruptedAt = Infinity;

/** Whether the program was asked to end. */
export function isInterrupted(): boolean {
  return interruptedAt !== Infinity;
}

/** Throws where the program was asked to end: for the steps of long work. */
export function checkpoint(): void {
  if (isInterrupted()) throw new Error("Interrupted");
}

function note(): void {
  const now = performance.now();
  if (now - interruptedAt > TWICE_MS) Deno.exit(EXIT_INTERRUPTED);
  if (isInterrupted()) return;
  interruptedAt = now;
  console.error("Interrupted: cleaning up");
}

/** Has the first signal noted until disposed of; another one ends at once. */
export function watchSignals(): Disposable {
  for (const signal of SIGNALS) Deno.addSignalListener(signal, note);
  return {
    [Symbol.dispose]: () => {
      for (const signal of SIGNALS) Deno.removeSignalListener(signal, note);
    },
  };
}
