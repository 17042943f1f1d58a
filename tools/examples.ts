/**
 * Runs the examples of the comments and of the documents, and tells the public
 * classes and functions that have none; it fails where that is a class.
 *
 *     deno task examples
 *     deno task examples src/virtqueue
 *
 * `deno test --doc` adds imports to an example that it may not use, which
 * `noUnusedLocals` would reject: the examples are checked without that.
 *
 * @module
 */
import { publicSymbols } from "./examples/public.ts";

const ROOT = new URL("..", import.meta.url);
const FOLDERS = ["src", "devices", "docs"];
const FILES = ["mod.ts", "README.md", "CONTRIBUTING.md"];
/** A block that runs, in a comment or in a document. */
const EXAMPLE = /^(?: *\* )?```ts$/m;

interface Config {
  readonly exports: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, string>>;
  readonly compilerOptions: Readonly<Record<string, unknown>>;
  readonly name: string;
}

function readConfig(): Config {
  return JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
}

/** The configuration for examples, which may be anywhere. */
function configFor({ name, exports, imports, compilerOptions }: Config) {
  const absolute = (path: string) =>
    path.startsWith("./") ? new URL(path, ROOT).href : path;
  const entries = [
    ...Object.entries(imports),
    ...Object.entries(exports).map(([at, path]) => [
      `${name}${at.slice(1)}`,
      path,
    ]),
  ] as [string, string][];
  return {
    imports: Object.fromEntries(
      entries.map(([from, path]) => [from, absolute(path)]),
    ),
    compilerOptions: { ...compilerOptions, noUnusedLocals: false },
  };
}

/** The files with examples whose paths start with one of `prefixes`. */
function filesWithExamples(prefixes: readonly string[]): string[] {
  const paths = FILES.slice();
  const visit = (folder: string): void => {
    for (const { name, isDirectory } of Deno.readDirSync(path(folder))) {
      if (isDirectory) visit(`${folder}/${name}`);
      else if (/\.(ts|md)$/.test(name) && !name.endsWith("_test.ts")) {
        paths.push(`${folder}/${name}`);
      }
    }
  };
  for (const folder of FOLDERS) visit(folder);
  return paths.filter((file) =>
    prefixes.some((prefix) => file.startsWith(prefix)) &&
    EXAMPLE.test(Deno.readTextFileSync(path(file)))
  ).sort().map(path);
}

function path(name: string): string {
  return new URL(name, ROOT).pathname;
}

async function run(config: Config, files: readonly string[]): Promise<boolean> {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-examples-" });
  try {
    const file = `${directory}/deno.json`;
    Deno.writeTextFileSync(file, JSON.stringify(configFor(config)));
    const options = ["--allow-all", "--no-lock", "--quiet", "--config", file];
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--doc", ...options, ...files],
      stdin: "null",
    }).spawn().status;
    return success;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

if (import.meta.main) {
  const config = readConfig();
  const entries = Object.values(config.exports)
    .map((entry) => new URL(entry, ROOT));
  const symbols = await publicSymbols(entries, ROOT);
  const bare = symbols.filter(({ hasExample }) => !hasExample);
  for (const { name, place } of bare) {
    console.error(`${place}: ${name} has no example: give its comment one`);
  }
  const prefixes = Deno.args.length > 0 ? Deno.args : [""];
  const files = filesWithExamples(prefixes);
  if (files.length === 0) {
    console.error(
      `No file with examples begins with ${prefixes.join(" or ")}: name a ` +
        `folder or a file of ${FOLDERS.join(", ")}, as docs/front_end.md`,
    );
    Deno.exit(1);
  }
  const passed = await run(config, files);
  console.log(
    `Files with examples: ${files.length}; public classes and functions with ` +
      `one: ${symbols.length - bare.length} of ${symbols.length}`,
  );
  const lacks = bare.some(({ name }) => name.startsWith("class "));
  if (!passed || lacks) Deno.exit(1);
}
