import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Reactor } from "../../src/io/reactor.ts";
import { ask } from "./example_driver.ts";

/** The files that the page shows. */
const EXAMPLES = [
  "example_device",
  "example_test",
  "example_server",
  "example_driver",
];

for (const permissions of [["--allow-ffi"], ["--allow-ffi", "--allow-read"]]) {
  Deno.test(`the example serves on its own with ${permissions.join(" ")}`, async () => {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-" });
    const path = `${directory}/s`;
    const script = new URL("./example_server.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--quiet", ...permissions, script, path],
      stdin: "null",
      stderr: "piped",
    }).spawn();
    const log = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    assertStringIncludes((await log.read()).value!, "entropy listens on");
    const bytes = await ask(path);
    assertEquals(bytes.length, 64);
    assert(bytes.some((byte) => byte !== 0));
    child.kill("SIGTERM");
    while (!(await log.read()).done);
    assertEquals((await child.status).code, 0);
    await Reactor.main.idle();
    Deno.removeSync(directory, { recursive: true });
  });
}

Deno.test("the example type-checks in another project", () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-" });
  const exports: [string, string][] = [
    ["", "../../mod.ts"],
    ["/device", "../../src/device/mod.ts"],
    ["/testing", "../../src/testing/mod.ts"],
  ];
  const resolve = (path: string) => new URL(path, import.meta.url).href;
  const imports: Record<string, string> = {
    "@std/assert": resolve("../../src/std/assert.ts"),
  };
  for (const [name, path] of exports) {
    imports[`@ringside/ringside${name}`] = resolve(path);
  }
  const files = EXAMPLES.map((name) => `${directory}/${name}.ts`);
  for (const name of EXAMPLES) {
    Deno.copyFileSync(
      new URL(`./${name}.ts`, import.meta.url),
      `${directory}/${name}.ts`,
    );
  }
  Deno.writeTextFileSync(
    `${directory}/deno.json`,
    JSON.stringify({ imports }),
  );
  const { code, stderr } = new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet", ...files],
    cwd: directory,
  }).outputSync();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("docs/adding_a_device.md shows the example as it is", () => {
  const read = (path: string) =>
    Deno.readTextFileSync(new URL(path, import.meta.url));
  const page = read("../../docs/adding_a_device.md");
  for (const name of EXAMPLES) {
    const [, code] = read(`./${name}.ts`).split(/ \*\/\n(.*)/s);
    // Those that import another example don't run from the page.
    const fence = code!.includes('"./') ? "```ts ignore" : "```ts";
    assertStringIncludes(page, `${fence}\n${code}\`\`\`\n`, name);
  }
});
