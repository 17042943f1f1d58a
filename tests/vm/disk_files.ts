/**
 * A file system on a guest's disk: what the guest and then the host finds of it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Guest } from "./guest.ts";
import { hashFile, type Step } from "./scenario.ts";

/** Makes a tree of files of many sizes below the mounted root `/mnt`. */
const makeTree = (path: string) => `
  set -e
  mkfs.ext4 -q -F ${path}
  mount -t ext4 ${path} /mnt
  cd /mnt
  for outer in 0 1 2 3; do
    for inner in 0 1 2 3; do
      mkdir -p $outer/$inner
      for size in 0 1 511 4096 5000 70000; do
        head -c $size /dev/urandom >$outer/$inner/$size
      done
    done
    dd if=/dev/urandom of=$outer/large bs=1M count=3 conv=fsync
  done
  # Holes, links and what was deleted belong to a tree as well.
  dd if=/dev/urandom of=sparse bs=4k count=1 seek=1000 conv=fsync
  ln 0/large linked
  ln -s 0/0/5000 symbolic
  rm -r 3/3
  find . -type f | sort | xargs sha256sum >/tmp/manifest
  sync -f /mnt
  cd /
  umount /mnt
`;

/**
 * Shows that a file system at `path` keeps its files: their hashes and names, as
 * sha256sum writes them.
 */
export async function showFiles(
  step: Step,
  guest: Guest,
  path: string,
): Promise<string> {
  await step("mkfs.ext4, a tree of files, fsync, unmount", async () => {
    await guest.output(makeTree(path), { timeoutMs: 120_000 });
    return `${await guest.output("wc -l </tmp/manifest")} files`;
  });
  await step("remounted, every file is the same", async () => {
    const files = await guest.output(
      `
      set -e
      blockdev --flushbufs ${path}
      echo 3 >/proc/sys/vm/drop_caches
      mount -t ext4 ${path} /mnt
      cd /mnt
      sha256sum -c /tmp/manifest | grep -vc ': OK$' >/tmp/bad || true
      [ "$(cat /tmp/bad)" = 0 ]
      find . -type f | wc -l
      cd /
      umount /mnt
    `,
      { timeoutMs: 120_000 },
    );
    assertEquals(files, await guest.output("wc -l </tmp/manifest"));
    return `${files} files`;
  });
  return await guest.output("cat /tmp/manifest");
}

/** What the host has of a guest's files. */
export interface FilesOnHost {
  /** The file of the disk. */
  image: string;
  /** Where there is room for them; it is made. */
  directory: string;
  /** What the guest wrote down of them. */
  manifest: string;
}

/** After the guest: the file system as the host's tools see it. */
export async function showFilesOnHost(
  step: Step,
  { image, directory, manifest }: FilesOnHost,
): Promise<void> {
  const tool = async (program: string, ...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    const text = decoder.decode(stdout).trim();
    const failure = `${program} ${args.join(" ")}: ${text}` +
      decoder.decode(stderr);
    assertEquals(code, 0, failure);
    return text;
  };
  await step("e2fsck on the host finds it clean", async () => {
    const text = await tool("e2fsck", "-f", "-n", image);
    return text.split("\n").at(-1)!;
  });
  await step("the host reads the same files from the image", async () => {
    await Deno.mkdir(directory);
    await tool("debugfs", "-R", `rdump / ${directory}`, image);
    const lines = manifest.split("\n");
    for (const line of lines) {
      const [hash, path] = line.split("  ");
      const { size } = await Deno.stat(`${directory}/${path}`);
      assertEquals(await hashFile(`${directory}/${path}`, 0, size), hash, path);
    }
    return `${lines.length} files`;
  });
}
