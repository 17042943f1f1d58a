/**
 * Builds the initial root of the test guest from what Debian installed on this
 * machine: busybox, a few dynamic programs with their libraries, the kernel
 * modules for virtio, and the agent that runs scripts (agent.sh).
 *
 * @module
 */
import { cpio, type CpioEntry } from "./cpio.ts";

/** What a guest boots from. */
export interface BootFiles {
  /** `6.1.0-56-cloud-amd64`, say. */
  release: string;
  /** Path of the kernel image. */
  kernel: string;
  /** Path of the initial root. */
  initramfs: string;
}

/** What a guest is for, which is what its initial root has. */
export type BootFlavour = "disk" | "card" | "both";

/** What the guests of one flavour need. */
interface Contents {
  /** Programs taken from the host as they are, with the libraries they load. */
  programs: readonly string[];
  /** Modules loaded at start; their dependencies are found in modules.dep. */
  modules: readonly string[];
}

/** What every guest needs. */
const COMMON: Contents = {
  // The shell: busybox's own prefers its applets to these programs.
  programs: ["dash", "dd", "sha256sum"],
  modules: ["virtio_pci", "virtio_console"],
};

const FLAVOURS: Readonly<Record<BootFlavour, Contents>> = {
  disk: {
    programs: [
      "mkfs.ext4",
      "e2fsck",
      "fio",
      "blkdiscard",
      "blockdev",
      "fallocate",
      "lsblk",
      "sync",
    ],
    modules: ["virtio_blk", "crc32c-intel"],
  },
  card: {
    programs: ["ip", "ethtool", "iperf3", "rngtest"],
    modules: ["virtio_net", "virtio-rng"],
  },
  both: {
    programs: ["fio", "ip"],
    modules: ["virtio_blk", "virtio_net", "crc32c-intel"],
  },
};

/** Where programs are looked for, in this order. */
const BINARY_DIRECTORIES = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

const CACHE = new URL("../../.cache/vm/", import.meta.url).pathname;

/** Runs a program to its end and returns its standard output. */
async function capture(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  }
  return decoder.decode(stdout);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The path of an installed program, or null. */
export function findProgram(name: string): string | null {
  return BINARY_DIRECTORIES.map((directory) => `${directory}/${name}`)
    .find(exists) ?? null;
}

/** The newest Debian cloud kernel whose modules are installed, or null. */
export function findKernel(): { release: string; kernel: string } | null {
  let names: string[];
  try {
    names = [...Deno.readDirSync("/boot")].map((entry) => entry.name);
  } catch {
    return null;
  }
  const releases = names
    .filter((name) => /^vmlinuz-.*-cloud-amd64$/.test(name))
    .map((name) => name.slice("vmlinuz-".length))
    .filter((release) => exists(`/lib/modules/${release}/modules.dep`))
    .sort(new Intl.Collator("en", { numeric: true }).compare);
  const release = releases.at(-1);
  return release ? { release, kernel: `/boot/vmlinuz-${release}` } : null;
}

/** One spelling for the directories that a merged /usr has twice. */
function merged(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib64)\//, "/usr/$1/");
}

/** The libraries a dynamic program loads, its interpreter included. */
async function libraries(program: string): Promise<string[]> {
  const listing = await capture("ldd", [program]);
  return [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) =>
    path!
  );
}

/** Paths of the files of `modules` for kernel `release`, in the order to load. */
async function moduleOrder(
  release: string,
  modules: readonly string[],
): Promise<string[]> {
  const root = `/lib/modules/${release}`;
  const dependencies = new Map<string, string[]>();
  for (
    const line of (await Deno.readTextFile(`${root}/modules.dep`)).split("\n")
  ) {
    const [path, rest] = line.split(":");
    if (path) {
      dependencies.set(path, rest!.split(" ").filter((word) => word !== ""));
    }
  }
  const order: string[] = [];
  const load = (path: string) => {
    // modules.dep lists what a module needs from the nearest to the farthest.
    for (const needed of dependencies.get(path)!.toReversed()) load(needed);
    if (!order.includes(`${root}/${path}`)) order.push(`${root}/${path}`);
  };
  const plain = (name: string) => name.replaceAll("-", "_");
  for (const name of modules) {
    const path = [...dependencies.keys()].find((path) =>
      plain(path).endsWith(`/${plain(name)}.ko`)
    );
    // One that isn't a file is built into the kernel.
    if (path) load(path);
  }
  return order;
}

/** Everything that goes into the archive: guest path to host path. */
async function collect(
  programs: readonly string[],
  modules: readonly string[],
): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const add = (path: string, from: string) => files.set(merged(path), from);
  add("/usr/bin/busybox", findProgram("busybox")!);
  for (const name of programs) {
    const path = findProgram(name);
    if (!path) {
      throw new Error(`No ${name} on this machine, wanted its package`);
    }
    add(path, path);
    for (const library of await libraries(path)) add(library, library);
  }
  for (const path of modules) add(path, path);
  return files;
}

/** The entries of the archive, directories before what they hold. */
function* entries(
  files: Map<string, string>,
  modules: string[],
  applets: string[],
  agent: Uint8Array,
): Generator<CpioEntry> {
  const made = new Set<string>();
  const parents = function* (path: string): Generator<CpioEntry> {
    const parts = path.split("/").slice(1, -1);
    for (let count = 1; count <= parts.length; count++) {
      const directory = "/" + parts.slice(0, count).join("/");
      if (made.has(directory)) continue;
      made.add(directory);
      yield { kind: "directory", path: directory };
    }
  };
  for (const name of ["dev", "etc", "mnt", "proc", "run", "sys", "tmp"]) {
    yield* parents(`/${name}/`);
  }
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    yield* parents(`/usr/${name}/`);
    yield { kind: "symlink", path: `/${name}`, target: `usr/${name}` };
  }
  yield { kind: "character", path: "/dev/console", major: 5, minor: 1 };
  yield { kind: "character", path: "/dev/null", major: 1, minor: 3 };
  yield { kind: "file", path: "/init", data: agent, executable: true };
  yield {
    kind: "file",
    path: "/etc/modules",
    data: new TextEncoder().encode(
      modules.map((path) => merged(path) + "\n").join(""),
    ),
  };
  for (const [path, from] of files) {
    yield* parents(path);
    yield {
      kind: "file",
      path,
      data: Deno.readFileSync(from),
      executable: true,
    };
  }
  for (const name of applets) {
    const path = `/usr/bin/${name}`;
    if (name === "sh") {
      yield { kind: "symlink", path, target: "dash" };
      continue;
    }
    if (files.has(path) || files.has(`/usr/sbin/${name}`)) continue;
    yield { kind: "symlink", path, target: "busybox" };
  }
}

/**
 * A name for the contents: it changes when a package is upgraded (then its
 * files differ in size or time) and when this builder or the agent does.
 */
async function contentKey(files: Map<string, string>): Promise<string> {
  const facts: string[] = [];
  for (const name of ["agent.sh", "cpio.ts", "initramfs.ts"]) {
    facts.push(await Deno.readTextFile(new URL(name, import.meta.url)));
  }
  for (const [path, from] of files) {
    const { size, mtime } = await Deno.stat(from);
    facts.push(`${path} ${size} ${mtime?.getTime()}`);
  }
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(facts.join("\n")),
  );
  return new Uint8Array(digest).toHex().slice(0, 16);
}

/** Removes archives of earlier packages: each takes up to 90 MB. */
async function removeStale(
  flavour: BootFlavour,
  current: string,
): Promise<void> {
  for (const { name } of Deno.readDirSync(CACHE)) {
    const path = CACHE + name;
    if (name.startsWith(`${flavour}-`) && path !== current) {
      await Deno.remove(path);
    }
  }
}

/**
 * Finds the kernel and builds the initial root, or finds it in `.cache/vm`.
 * Throws an Error that names the program or the kernel that is missing.
 */
export async function prepareBoot(
  flavour: BootFlavour = "disk",
): Promise<BootFiles> {
  const found = findKernel();
  if (!found) {
    throw new Error(
      "No Debian cloud kernel with its modules on this machine, " +
        "wanted the package linux-image-cloud-amd64",
    );
  }
  const own = FLAVOURS[flavour];
  const modules = await moduleOrder(
    found.release,
    [...COMMON.modules, ...own.modules],
  );
  const files = await collect([...COMMON.programs, ...own.programs], modules);
  const initramfs = `${CACHE}${flavour}-${await contentKey(files)}.cpio`;
  if (!exists(initramfs)) {
    await Deno.mkdir(CACHE, { recursive: true });
    const applets = (await capture("busybox", ["--list"])).trim().split("\n");
    const agent = await Deno.readFile(new URL("agent.sh", import.meta.url));
    // Written aside and renamed: two test runs may build at the same time.
    const unfinished = await Deno.makeTempFile({ dir: CACHE });
    using output = await Deno.open(unfinished, { write: true });
    for (const piece of cpio(entries(files, modules, applets, agent))) {
      for (let at = 0; at < piece.length;) {
        at += output.writeSync(piece.subarray(at));
      }
    }
    await Deno.rename(unfinished, initramfs);
    await removeStale(flavour, initramfs);
  }
  return { ...found, initramfs };
}
