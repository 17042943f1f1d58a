/**
 * What an image looks like that is not the bytes of a disk, as qcow2. Such a
 * one is served as the bytes that it is: a guest may write whatever it likes to
 * the start of its disk, and must not be able to have it taken for another's.
 *
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import type { DiskFile } from "../../src/io/file.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { shellWord } from "../../src/io/path_error.ts";

/** How each begins. */
const MAGICS: readonly (readonly [string, string])[] = [
  ["qcow2", "QFI\xfb"],
  ["QED", "QED\0"],
  ["VMDK", "KDMV"],
  ["VHDX", "vhdxfile"],
];
const MAGIC_MAX = 8;
/** Room for the largest alignment, twice. */
const ROOM = 2 << 16;

/** The format that `file` seems to have, or "" where that is raw. */
export function imageFormat(file: DiskFile): string {
  using memory = Mapping.anonymous(ROOM);
  using list = new IovecList(1);
  const unit = Math.max(file.memoryAlignment, 1);
  const address = Math.ceil(memory.address / unit) * unit;
  list.set(0, address, Math.max(file.alignment, MAGIC_MAX));
  const size = file.readv(list, 0, 1, 0);
  const from = address - memory.address;
  const bytes = new Uint8Array(memory.buffer, from, MAGIC_MAX);
  const start = String.fromCharCode(...bytes.subarray(0, Math.max(size, 0)));
  const found = MAGICS.find(([, magic]) => start.startsWith(magic));
  return found === undefined ? "" : found[0];
}

/** What is to be done about `file`, which is of `format`. */
export function formatRemedy(file: DiskFile, format: string): string {
  const path = shellWord(file.path);
  const raw = shellWord(`${file.path}.raw`);
  return `it looks like a ${format} image, make a raw one: ` +
    `qemu-img convert -O raw ${path} ${raw}`;
}
