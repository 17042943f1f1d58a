/**
 * Writes the cpio "newc" archive that the Linux kernel unpacks as its initial
 * root (Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * @module
 */

/** One entry of an archive. Parents must come before what they hold. */
export type CpioEntry =
  | { kind: "directory"; path: string }
  | { kind: "symlink"; path: string; target: string }
  | { kind: "file"; path: string; data: Uint8Array; executable?: boolean }
  | { kind: "character"; path: string; major: number; minor: number };

const DIRECTORY = 0o040755;
const SYMLINK = 0o120777;
const REGULAR = 0o100644;
const EXECUTABLE = 0o100755;
const CHARACTER = 0o020600;

const encoder = new TextEncoder();

function mode(entry: CpioEntry): number {
  switch (entry.kind) {
    case "directory":
      return DIRECTORY;
    case "symlink":
      return SYMLINK;
    case "character":
      return CHARACTER;
    case "file":
      return entry.executable ? EXECUTABLE : REGULAR;
  }
}

function body(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.data;
  if (entry.kind === "symlink") return encoder.encode(entry.target);
  return new Uint8Array(0);
}

/** Zeroes up to the next multiple of four, which newc wants after both parts. */
function padding(size: number): Uint8Array {
  return new Uint8Array((4 - size % 4) % 4);
}

function* record(
  inode: number,
  path: string,
  fileMode: number,
  data: Uint8Array,
  device: [major: number, minor: number],
): Generator<Uint8Array> {
  const name = encoder.encode(path + "\0");
  // inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor
  // rdevminor namesize check. A time of 0 keeps archives reproducible.
  const fields = [inode, fileMode, 0, 0, 1, 0, data.length, 0, 0]
    .concat(device, name.length, 0);
  const header = "070701" +
    fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  yield encoder.encode(header);
  yield name;
  yield padding(header.length + name.length);
  yield data;
  yield padding(data.length);
}

/** The archive, piece by piece, so that a large one is never whole in memory. */
export function* cpio(entries: Iterable<CpioEntry>): Generator<Uint8Array> {
  // Inode numbers differ, else the kernel takes two entries for hard links.
  let inode = 1;
  for (const entry of entries) {
    const path = entry.path.replace(/^\/+/, "");
    yield* record(
      inode++,
      path,
      mode(entry),
      body(entry),
      entry.kind === "character" ? [entry.major, entry.minor] : [0, 0],
    );
  }
  yield* record(0, "TRAILER!!!", 0, new Uint8Array(0), [0, 0]);
}
