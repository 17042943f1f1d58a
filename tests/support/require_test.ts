import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { hasProgram } from "./require.ts";

interface Outcome {
  success: boolean;
  text: string;
}

/** Runs a test file in which one test needs what `check` looks for. */
async function outcome(check: string, ci: string): Promise<Outcome> {
  const directory = await Deno.makeTempDir();
  try {
    const module = new URL("./require.ts", import.meta.url);
    const file = `${directory}/needs_test.ts`;
    await Deno.writeTextFile(
      file,
      `import { requirement } from "${module}";
       const canRun = requirement("the moon", ${check});
       Deno.test({ name: "lands", ignore: !canRun, fn() {} });`,
    );
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["test", "--allow-env", "--no-config", "--no-check", file],
        env: { NO_COLOR: "1", CI: ci },
      },
    ).output();
    const decoder = new TextDecoder();
    return { success, text: decoder.decode(stdout) + decoder.decode(stderr) };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a met requirement lets the test run", async () => {
  const { success, text } = await outcome("() => true", "true");
  assert(success, text);
  assertStringIncludes(text, "1 passed");
});

Deno.test("a missing requirement skips loudly", async () => {
  const { success, text } = await outcome("() => false", "");
  assert(success, text);
  assertStringIncludes(text, "SKIPPED: the moon is missing");
  assertStringIncludes(text, "1 ignored");
});

Deno.test("a missing requirement fails under CI=true", async () => {
  const { success, text } = await outcome("() => false", "true");
  assert(!success, text);
  assertStringIncludes(text, "requires the moon ... FAILED");
});

Deno.test("a check that throws says why", async () => {
  const check = `() => { throw new Error("It is cloudy") }`;
  const { text } = await outcome(check, "");
  assertStringIncludes(text, "the moon is missing (It is cloudy)");
});

Deno.test("hasProgram looks through the PATH", () => {
  assertEquals(hasProgram("sh"), true);
  assertEquals(hasProgram("no-such-program"), false);
});
