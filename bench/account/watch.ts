/**
 * Programs that look at a running process.
 *
 * @module
 */
import type { Watch } from "../peers/measure.ts";
import { spawn, tell } from "../programs.ts";

/** How long a program may take to begin, milliseconds. */
const BEGIN_MS = 10_000;
const STEP_MS = 20;

/** A run of `command` beside the process, ended as by Ctrl-C. */
function beside(
  command: (pid: number) => readonly string[],
  hasBegun: (pid: number) => boolean,
): Watch {
  return async (pid) => {
    const words = command(pid);
    const child = spawn(words, { stderr: "piped" });
    let hasEnded = false;
    const said = child.stderr.text().then((text) => {
      hasEnded = true;
      return text.trim();
    });
    for (let ms = 0; !hasBegun(pid) && ms < BEGIN_MS; ms += STEP_MS) {
      if (hasEnded) {
        throw new Error(`${words[0]} ended at once: ${await said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
    return {
      async [Symbol.asyncDispose]() {
        tell(child, "SIGINT");
        await Promise.all([child.status, said]);
      },
    };
  };
}

/** Counts the system calls of all threads, into `file`. */
export function strace(file: string): Watch {
  return beside(
    (
      pid,
    ) => ["strace", "-f", "-c", "-U", "name,calls", "-o", file, "-p", `${pid}`],
    (pid) => tasks(pid).every((status) => !/^TracerPid:\t0$/m.test(status)),
  );
}

/** Samples where all threads are, into `file`. */
export function perf(file: string): Watch {
  return beside(
    (pid) => ["perf", "record", "-q", "-F", "4999", "-o", file, "-p", `${pid}`],
    () => {
      try {
        return Deno.statSync(file).size > 0;
      } catch {
        return false;
      }
    },
  );
}

/** The status of each thread. */
function tasks(pid: number): string[] {
  const directory = `/proc/${pid}/task`;
  return [...Deno.readDirSync(directory)].map(({ name }) =>
    Deno.readTextFileSync(`${directory}/${name}/status`)
  );
}
