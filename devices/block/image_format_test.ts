import { assertEquals } from "@std/assert";
import { DiskFile } from "../../src/io/file.ts";
import { formatRemedy, imageFormat } from "./image_format.ts";

function formatOf(content: Uint8Array<ArrayBuffer>): string {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, content);
    using file = DiskFile.open(path);
    return imageFormat(file);
  } finally {
    Deno.removeSync(path);
  }
}

/** A sector that begins with the codes of `text`. */
function sector(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(512);
  bytes.set(Array.from(text, (each) => each.charCodeAt(0)));
  return bytes;
}

Deno.test("images of other formats are known by their first bytes", () => {
  assertEquals(formatOf(sector("QFI\xfb\0\0\0\x03")), "qcow2");
  assertEquals(formatOf(sector("KDMV")), "VMDK");
  assertEquals(formatOf(sector("vhdxfile")), "VHDX");
  assertEquals(formatOf(sector("QED\0")), "QED");
});

Deno.test("anything else is raw", () => {
  assertEquals(formatOf(sector("")), "");
  assertEquals(formatOf(sector(" QFI\xfb")), "");
  assertEquals(formatOf(sector("vhdxfil")), "");
  assertEquals(formatOf(new Uint8Array()), "");
  assertEquals(formatOf(new Uint8Array([0x51, 0x46])), "");
});

Deno.test("the remedy can be pasted", () => {
  const path = `${Deno.makeTempDirSync()}/a disk`;
  Deno.writeFileSync(path, sector("QFI\xfb"));
  using file = DiskFile.open(path);
  assertEquals(
    formatRemedy(file, "qcow2"),
    "it looks like a qcow2 image, make a raw one: " +
      `qemu-img convert -O raw '${path}' '${path}.raw'`,
  );
  Deno.removeSync(path.slice(0, -"/a disk".length), { recursive: true });
});
