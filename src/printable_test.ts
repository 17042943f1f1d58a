import { assertEquals } from "@std/assert";
import { printable } from "./printable.ts";

Deno.test("printable spells out control characters and nothing else", () => {
  const cases: [string, string][] = [
    ["", ""],
    ["/srv/a disk 'ö' \\ 𝕏.img", "/srv/a disk 'ö' \\ 𝕏.img"],
    ["two\nlines\r\n\tend", "two\\nlines\\r\\n\\tend"],
    ["\x1b[2Jred\x00\x7f\x9b", "\\x1b[2Jred\\x00\\x7f\\x9b"],
    ["\u2028", "\\u2028"],
  ];
  for (const [text, shown] of cases) assertEquals(printable(text), shown);
});
