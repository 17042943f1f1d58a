import { assertEquals } from "@std/assert";

const ROOT = new URL("..", import.meta.url);

function pages(directory: URL): URL[] {
  const found: URL[] = [];
  for (const entry of Deno.readDirSync(directory)) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const url = new URL(entry.name, directory);
    if (entry.isDirectory) found.push(...pages(new URL(`${url.href}/`)));
    else if (entry.name.endsWith(".md")) found.push(url);
  }
  return found;
}

function exists(url: URL): boolean {
  try {
    Deno.statSync(url);
    return true;
  } catch {
    return false;
  }
}

Deno.test("every link from one page of the documentation to a file leads there", () => {
  const dead: string[] = [];
  for (const page of pages(ROOT)) {
    const text = Deno.readTextFileSync(page);
    for (const [, target] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      if (!exists(new URL(target!, page))) {
        dead.push(`${page.href.slice(ROOT.href.length)}: ${target}`);
      }
    }
  }
  assertEquals(dead, []);
});
