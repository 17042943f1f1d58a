import { assertEquals, assertStringIncludes } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { withDeadline } from "../tests/vm/deadline.ts";

const DEADLINE_MS = 30_000;
const module = (name: string) =>
  JSON.stringify(new URL(name, import.meta.url).href);
const HEAD = `
import { tool } from ${module("./tool.ts")};
import { checkpoint } from ${module("./interruption.ts")};
import { UsageError } from ${module("../src/errors.ts")};
`;

/** A program that is a tool with this body. */
async function program(body: string, ...args: string[]) {
  const directory = await Deno.makeTempDir({ prefix: "ringside-tool-" });
  const script = `${directory}/script.ts`;
  await Deno.writeTextFile(
    script,
    `${HEAD}await tool("Usage: it", async (directory) => {${body}});`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", script, ...args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  return {
    child,
    /** The next of what it prints. */
    async read(): Promise<string> {
      return (await reader.read()).value ?? "";
    },
    async end(): Promise<{ code: number; stderr: string }> {
      const end = Promise.all([child.status, child.stderr.text()]);
      const [{ code }, stderr] = await withDeadline(end, DEADLINE_MS);
      await reader.cancel();
      await Deno.remove(directory, { recursive: true });
      return { code, stderr };
    },
  };
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

describe("a tool of measuring", () => {
  it("prints how it is used, and does nothing", async () => {
    const it = await program(`console.log("done");`, "--rounds=1", "--help");
    assertEquals(await it.read(), "Usage: it\n");
    assertEquals(await it.end(), { code: 0, stderr: "" });
  });

  it("says in one line what is wrong, and removes its folder", async () => {
    const cases = [["UsageError", 2], ["Error", 1]] as const;
    for (const [name, code] of cases) {
      const it = await program(`
        console.log(directory);
        throw new ${name}("It is wrong: mend it");
      `);
      const directory = (await it.read()).trim();
      assertEquals(await it.end(), { code, stderr: "It is wrong: mend it\n" });
      assertEquals(isThere(directory), false);
    }
  });

  it("shows where a defect of ours is", async () => {
    const it = await program(`null.length;`);
    const { code, stderr } = await it.end();
    assertEquals(code, 1);
    assertStringIncludes(stderr, "script.ts:");
  });

  it("cleans up where it is interrupted", async () => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      const it = await program(`
        console.log(directory);
        for (;;) {
          checkpoint();
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      `);
      const directory = (await it.read()).trim();
      assertEquals(isThere(directory), true);
      // As of a terminal, and of a task that passes it on.
      it.child.kill(signal);
      it.child.kill(signal);
      const { code, stderr } = await it.end();
      assertEquals([code, stderr], [130, "Interrupted: cleaning up\n"]);
      assertEquals(isThere(directory), false);
    }
  });
});
