/**
 * What `deno compile` puts into one executable.
 *
 * The base of that executable is `denort`, which Deno downloads. Here deno
 * itself stands in for it: the result does not run, but what is embedded shows.
 *
 * @module
 */
import { assert, assertStringIncludes } from "@std/assert";
import manifest from "../deno.json" with { type: "json" };

Deno.test("deno task compile embeds main, devices and the worker", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const task = manifest.tasks.compile.split(" ").slice(1);
    const output = task.indexOf("--output") + 1;
    task[output] = `${directory}/ringside`;
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["compile", "--no-check", ...task.slice(1)],
        cwd: new URL("..", import.meta.url),
        env: { DENORT_BIN: Deno.execPath(), NO_COLOR: "1" },
      },
    ).output();
    const decoder = new TextDecoder();
    const said = decoder.decode(stdout) + decoder.decode(stderr);
    assert(success, said);
    for (const name of ["main.ts", "worker.ts", "libc.ts", "devices"]) {
      assertStringIncludes(said, name);
    }
    const { size } = await Deno.stat(`${directory}/ringside`);
    const { size: base } = await Deno.stat(Deno.execPath());
    assert(size > base, "nothing is embedded");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
