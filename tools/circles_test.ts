/**
 * No file loads another that loads it. Imports of types, and those that are
 * made only when they are needed, load nothing.
 *
 * @module
 */
import { assertEquals, assertGreater } from "@std/assert";
import { repositoryPath } from "./lint/paths.ts";

const ENTRY = new URL("../main.ts", import.meta.url).href;

/** Of `deno info --json`, what is looked at. */
interface Graph {
  modules: {
    specifier: string;
    dependencies?: {
      code?: { specifier: string };
      isDynamic?: boolean;
    }[];
  }[];
}

/** By file, the files that it loads before it runs. */
function loads(graph: Graph): Map<string, string[]> {
  return new Map(graph.modules.map(({ specifier, dependencies = [] }) => [
    repositoryPath(specifier),
    dependencies.flatMap(({ code, isDynamic }) =>
      code === undefined || isDynamic === true
        ? []
        : [repositoryPath(code.specifier)]
    ),
  ]));
}

/** The first circle, as the files along it; empty where there is none. */
function circle(files: Map<string, string[]>): string[] {
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (file: string): string[] => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return [];
    way.push(file);
    for (const next of files.get(file) ?? []) {
      const found = visit(next);
      if (found.length > 0) return found;
    }
    way.pop();
    done.add(file);
    return [];
  };
  for (const file of files.keys()) {
    const found = visit(file);
    if (found.length > 0) return found;
  }
  return [];
}

Deno.test("no file loads another that loads it", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ENTRY],
  }).output();
  const files = loads(JSON.parse(new TextDecoder().decode(stdout)));
  assertGreater(files.size, 100);
  assertEquals(circle(files), []);
});

Deno.test("a circle is found, wherever it starts", () => {
  const files = new Map([["a", ["b", "c"]], ["b", []], ["c", ["d"]]]);
  assertEquals(circle(files), []);
  files.set("d", ["b", "c"]);
  assertEquals(circle(files), ["c", "d", "c"]);
});
