/**
 * `deno task bundle [DIRECTORY]`: the program in few files, which Deno loads
 * faster than its many modules: `deno run --allow-ffi --allow-read
 * dist/main.js`.
 *
 * @module
 */

const ROOT = new URL("..", import.meta.url);
const PROGRAM = ["main.ts", "mod.ts", "deno.json", "src", "devices"];

/** A module that is found by its name at run time, not by an import. */
interface Found {
  /** Who looks for it, and how it says so. */
  readonly by: string;
  readonly as: string;
  /** Where it is. */
  readonly module: string;
}

/** What threads load: a file of its own each, beside the rest. */
export async function threadModules(): Promise<Found[]> {
  const found: Found[] = [{
    by: "src/server/worker_url.ts",
    as: "./worker.ts",
    module: "src/server/worker.ts",
  }];
  for await (const { name, isDirectory } of Deno.readDir(inside("devices"))) {
    if (!isDirectory) continue;
    found.push({
      by: `devices/${name}/mod.ts`,
      as: "./queue.ts",
      module: `devices/${name}/queue.ts`,
    });
  }
  return found;
}

/** Writes the program to `directory`, which is made. */
export async function bundle(directory: string): Promise<void> {
  const source = await Deno.makeTempDir({ prefix: "ringside-bundle-" });
  try {
    for (const path of PROGRAM) await copy(inside(path), `${source}/${path}`);
    const found = await threadModules();
    for (const each of found) await redirect(source, each);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["bundle", "--quiet", "--code-splitting", "--outdir", directory],
        "main.ts",
        ...found.map(({ module }) => module),
      ],
      cwd: source,
      stdout: "null",
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(source, { recursive: true });
  }
}

/** Names the module by where it is beside `main.js`, where all code ends. */
async function redirect(source: string, { by, as, module }: Found) {
  const path = `${source}/${by}`;
  const text = await Deno.readTextFile(path);
  const call = (name: string) => `import.meta.resolve("${name}")`;
  if (text.split(call(as)).length !== 2) {
    throw new Error(
      `${by} has not one ${call(as)}: say in tools/bundle.ts how it finds ` +
        module,
    );
  }
  const name = `./${module.replace(/\.ts$/, ".js")}`;
  await Deno.writeTextFile(path, text.replace(call(as), call(name)));
}

async function copy(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isFile) return await Deno.copyFile(from, to);
  await Deno.mkdir(to);
  for await (const { name } of Deno.readDir(from)) {
    if (!name.endsWith("_test.ts")) {
      await copy(`${from}/${name}`, `${to}/${name}`);
    }
  }
}

function inside(path: string): string {
  return new URL(path, ROOT).pathname;
}

if (import.meta.main) {
  const directory = Deno.args[0] ?? inside("dist");
  await bundle(directory);
  console.log(`deno run --allow-ffi --allow-read ${directory}/main.js`);
}
