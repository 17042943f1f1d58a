/**
 * What is measured side by side: the rings of this tree, those of another
 * revision or without the IOMMU, and rust-vmm's virtio-queue.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url).pathname;
const PEER = `${ROOT}bench/peers/virtio_queue`;
/** What a tree needs to time its rings. */
const NEEDED = ["src", "deno.json", "bench/ring", "tests/conformance"];

/** A program that prints the figures of all shapes. */
export interface Contender {
  /** As in the table. */
  readonly name: string;
  readonly command: readonly string[];
}

/** The rings of the tree at `root`. */
export function ringsOf(root: string, suffix: string): Contender[] {
  return ["split", "packed"].map((kind) => ({
    name: `${kind}${suffix}`,
    command: [
      ...[Deno.execPath(), "run", "--no-check", "--allow-ffi", "--allow-env"],
      ...[`${root}/bench/ring/ours.ts`, kind],
    ],
  }));
}

/** rust-vmm's, built from crates.io; null where that can't be. */
export async function peer(): Promise<Contender | null> {
  try {
    const { success } = await new Deno.Command("cargo", {
      args: ["build", "--release", "--quiet"],
      cwd: PEER,
    }).output();
    if (!success) return null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  return {
    name: "virtio-queue",
    command: [`${PEER}/target/release/ring-peer`],
  };
}

/** Writes revision `revision` to `folder`, with the benchmark as it is here. */
export async function checkOut(
  revision: string,
  folder: string,
): Promise<void> {
  await copyOver(folder, [
    ...["git", "-C", ROOT, "archive", revision, ...NEEDED.slice(0, 2)],
  ]);
  await copyOver(folder, ["tar", "-C", ROOT, "-c", ...NEEDED.slice(2)]);
}

/** Writes this tree to `folder`, without what asks whether there is an IOMMU. */
export async function withoutIommu(folder: string): Promise<void> {
  await copyOver(folder, ["tar", "-C", ROOT, "-c", ...NEEDED]);
  const hooks: readonly (readonly [string, string, string])[] = [
    [
      "chain.ts",
      "if (memory.virtual !== null) return this.#translateVirtual(memory.virtual);",
      "",
    ],
    [
      "chain.ts",
      "return virtual !== null && virtual.missed;",
      "return false && virtual !== null;",
    ],
    ["indirect_table.ts", "if (virtual !== null) {", "if (false) {"],
  ];
  for (const [file, hook, instead] of hooks) {
    const path = `${folder}/src/virtqueue/${file}`;
    const text = await Deno.readTextFile(path);
    if (!text.includes(hook)) throw new Error(`${file} has no "${hook}"`);
    await Deno.writeTextFile(path, text.replace(hook, instead));
  }
}

/** Unpacks into `folder` what `command` writes. */
async function copyOver(
  folder: string,
  [program, ...args]: readonly string[],
): Promise<void> {
  const from = new Deno.Command(program!, { args, stdout: "piped" }).spawn();
  const to = new Deno.Command("tar", {
    args: ["-C", folder, "-x"],
    stdin: "piped",
  }).spawn();
  await from.stdout.pipeTo(to.stdin);
  const both = await Promise.all([from.status, to.status]);
  if (!both.every(({ success }) => success)) {
    throw new Error(`${program} ${args.join(" ")} failed`);
  }
}
