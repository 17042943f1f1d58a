import { assertEquals, assertStringIncludes } from "@std/assert";
import plugin from "./lint_plugin.ts";

/** The messages of `rule` on `source`, were it the file `path`. */
function messages(rule: string, path: string, source: string): string[] {
  const found = Deno.lint.runPlugin(plugin, path, source);
  return found.filter(({ id }) => id === `ringside/${rule}`)
    .map(({ message }) => message);
}

function ranks(path: string, specifier: string): string[] {
  return messages("import-ranks", path, `import "${specifier}";`);
}

Deno.test("imports go down", () => {
  const allowed: [string, string][] = [
    ["main.ts", "./src/cli/run.ts"],
    ["main.ts", "./devices/mod.ts"],
    ["mod.ts", "./src/server/server.ts"],
    ["src/cli/run.ts", "../server/server.ts"],
    ["src/cli/version.ts", "../../deno.json"],
    ["src/server/server.ts", "../vhost_user/session.ts"],
    ["src/vhost_user/session.ts", "./channel.ts"],
    ["src/vhost_user/session.ts", "../memory/memory_table.ts"],
    ["src/memory/memory_table.ts", "../io/fd.ts"],
    ["src/ffi/struct.ts", "../assert.ts"],
    ["src/testing/split_driver.ts", "../vhost_user/frontend.ts"],
    ["src/check/guest.ts", "../testing/mod.ts"],
    ["src/load/driver.ts", "../testing/mod.ts"],
    ["devices/block/mod.ts", "../../src/device/device.ts"],
    ["devices/block/mod.ts", "./config.ts"],
    ["devices/mod.ts", "./block/mod.ts"],
    ["src/cli/run.ts", "@std/cli/parse-args"],
    ["src/std/assert.ts", "node:assert"],
  ];
  for (const [path, specifier] of allowed) {
    assertEquals(ranks(path, specifier), [], `${path} imports ${specifier}`);
  }
});

Deno.test("imports never go up, nor aside", () => {
  const refused: [string, string][] = [
    ["src/ffi/libc.ts", "../io/fd.ts"],
    ["src/errors.ts", "./log.ts"],
    ["src/io/fd.ts", "../memory/region.ts"],
    ["src/virtqueue/split.ts", "../device/device.ts"],
    ["src/device/device.ts", "../vhost_user/backend.ts"],
    ["src/vhost_user/session.ts", "../device/device.ts"],
    ["src/vhost_user/session.ts", "../server/server.ts"],
    ["src/server/server.ts", "../../devices/block/mod.ts"],
    ["src/server/server.ts", "../cli/run.ts"],
    ["devices/block/mod.ts", "../../src/server/server.ts"],
    ["devices/block/mod.ts", "../net/mod.ts"],
    ["devices/block/mod.ts", "../mod.ts"],
    ["src/cli/run.ts", "../../main.ts"],
  ];
  for (const [path, specifier] of refused) {
    const found = ranks(path, specifier);
    assertEquals(found.length, 1, `${path} imports ${specifier}`);
    assertStringIncludes(found[0]!, "imports go down only");
  }
});

Deno.test("production code never imports the tests' helpers", () => {
  for (const path of ["main.ts", "src/cli/run.ts", "src/server/server.ts"]) {
    const up = path.replaceAll(/[^/]+/g, "..").replace(/..$/, "");
    const found = ranks(path, `${up === "" ? "./" : up}src/testing/prng.ts`);
    assertEquals(found, ["Production code can't import src/testing"]);
  }
  const [found] = ranks("src/server/server.ts", "../../tests/support/wait.ts");
  assertStringIncludes(found!, "no part of the program");
});

Deno.test("tests, benchmarks and tools import what they like", () => {
  const path = "../src/server/server.ts";
  assertEquals(ranks("tests/session/x.ts", `../${path}`), []);
  assertEquals(ranks("bench/x_bench.ts", path), []);
  assertEquals(ranks("tools/demo.ts", path), []);
  assertEquals(ranks("src/io/fd_test.ts", "../server/server.ts"), []);
});

Deno.test("there are no dependencies", () => {
  for (const name of ["npm:left-pad", "jsr:@std/assert", "node:fs", "lodash"]) {
    const [found] = ranks("src/io/fd.ts", name);
    assertStringIncludes(found!, "is a dependency");
  }
});

Deno.test("a new folder needs a rank", () => {
  const [found] = messages("import-ranks", "src/attic/x.ts", "");
  assertEquals(found, "src/attic/x.ts is in no room: give it one");
  const [other] = ranks("src/server/server.ts", "../attic/x.ts");
  assertEquals(other, "src/attic/x.ts is in no room: give it one");
});

Deno.test("every way to import is seen", () => {
  const ways = [
    `import type { Server } from "../server/server.ts";`,
    `export * from "../server/server.ts";`,
    `export { Server } from "../server/server.ts";`,
    `await import("../server/server.ts");`,
    `let server: import("../server/server.ts").Server;`,
    `import.meta.resolve("../server/server.ts");`,
  ];
  for (const source of ways) {
    const found = messages("import-ranks", "src/io/fd.ts", source);
    assertEquals(found.length, 1, source);
  }
  const own = `export { a }; const a = 1; const b = import.meta.url;`;
  assertEquals(messages("import-ranks", "src/io/fd.ts", own), []);
});

Deno.test("unsafe code stays in src/ffi", () => {
  const ways = [
    `Deno.dlopen("libc.so.6", {});`,
    `new Deno.UnsafePointerView(pointer);`,
    `Deno.UnsafePointer.of(view);`,
    `Deno["dlopen"]("libc.so.6", {});`,
    `globalThis.Deno.dlopen("libc.so.6", {});`,
    `const { dlopen } = Deno;`,
    `let view: Deno.UnsafePointerView;`,
  ];
  for (const source of ways) {
    const path = "src/io/fd.ts";
    assertEquals(messages("unsafe-in-ffi", path, source).length, 1, source);
    assertEquals(messages("unsafe-in-ffi", "src/ffi/libc.ts", source), []);
  }
  const safe = `const { args } = Deno; let p: Deno.PointerObject; Deno.exit();`;
  assertEquals(messages("unsafe-in-ffi", "tests/x.ts", safe), []);
});

Deno.test("a function has at most 70 lines", () => {
  const body = (lines: number) => "\n  // … and so on".repeat(lines) + "\n";
  const shapes = [
    (lines: number) => `function f() {${body(lines)}}`,
    (lines: number) => `const f = () => {${body(lines)}};`,
    (lines: number) => `class C { f() {${body(lines)}} }`,
  ];
  for (const shape of shapes) {
    const of = (lines: number) =>
      messages("function-length", "src/io/fd.ts", shape(lines));
    assertEquals(of(68), []);
    assertEquals(of(69), ["A function has 71 lines, and may have 70"]);
  }
});

Deno.test("a callback of a test may be longer", () => {
  const long = `() => {${"\n".repeat(100)}}`;
  const callbacks = `describe("x", ${long}); Deno.test({ fn: ${long} });`;
  const of = (path: string, source: string) =>
    messages("function-length", path, source).length;
  assertEquals(of("src/io/fd_test.ts", callbacks), 0);
  assertEquals(of("src/io/fd.ts", callbacks), 2);
  assertEquals(of("src/io/fd_test.ts", `const helper = ${long};`), 1);
});

Deno.test("hot code has nothing that waits or allocates by stealth", () => {
  const cases: [string, string[]][] = [
    ["async function f() { await 1; }", ["an async function", "an await"]],
    ["const f = async () => {};", ["an async function"]],
    ["f(...a);", ["a spread"]],
    ["const b = { ...a };", ["a spread"]],
    ["function f(...rest) {}", ["a rest parameter"]],
    ["let a = 1n;", ["a bigint"]],
    ["let a = BigInt(1);", ["a bigint"]],
    ["for (;;) { f(() => 1); }", ["a closure made in a loop"]],
    ["while (x) { try { f(); } catch { g(); } }", ["a try in a loop"]],
    ["do { if (x) { function f() {} } } while (y);", [
      "a closure made in a loop",
    ]],
  ];
  for (const [source, wanted] of cases) {
    const hot = messages("hot-code", "src/x.ts", `// Data plane: x\n${source}`);
    assertEquals(hot.sort(), wanted.map((what) => `Hot code has ${what}`));
    assertEquals(messages("hot-code", "src/x.ts", source), []);
  }
});

Deno.test("hot code may have loops, plain closures and plain tries", () => {
  const source = `// Data plane: x
    const f = () => { for (const a of b) { c(a, 1, "1"); } };
    function g() { try { f(); } catch { f(); } }
    function h([first, ...others]) { return [first, others]; }`;
  assertEquals(messages("hot-code", "src/x.ts", source), []);
});
