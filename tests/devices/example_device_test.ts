import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Reactor } from "../../src/io/reactor.ts";
import { entropy } from "./example_device.ts";
import { FakeDriver, RING_KINDS } from "../../src/testing/mod.ts";
import { ask } from "./example_driver.ts";

for (const kind of RING_KINDS) {
  Deno.test(`the example fills what is writable and says how much (${kind.name})`, async () => {
    const given = { "max-bytes": 100 };
    await using fake = await FakeDriver.open(entropy, given, { kind });
    const [long, short, none] = await Promise.all([
      fake.request([{ room: 4096 }]),
      fake.request([{ room: 15 }], { writable: [7, 8] }),
      fake.request([{ bytes: new Uint8Array(4096) }]),
    ]);
    assertEquals([long.written, short.written, none.written], [100, 15, 0]);
    // No byte behind those that it says it wrote, and no zeros.
    assert(long.bytes().some((byte) => byte !== 0));
    assertEquals(short.bytes().length, 15);
  });
}

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
  const imports: Record<string, string> = {};
  for (const [name, path] of exports) {
    imports[`@ringside/ringside${name}`] = new URL(path, import.meta.url).href;
  }
  const files = ["device", "server", "driver"].map((name) => {
    let text = Deno.readTextFileSync(
      new URL(`./example_${name}.ts`, import.meta.url),
    );
    for (const [name, path] of exports) {
      text = text.replace(`"${path}"`, `"@ringside/ringside${name}"`);
    }
    const file = `${directory}/example_${name}.ts`;
    Deno.writeTextFileSync(file, text);
    return file;
  });
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
  for (const name of ["device", "server", "driver"]) {
    const [, code] = read(`./example_${name}.ts`).split(/ \*\/\n(.*)/s);
    assertStringIncludes(page, "```ts\n" + code + "```\n", name);
  }
});
