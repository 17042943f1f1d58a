/**
 * Documents as they have to be to be read at all.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

/** Names of the elements of `xml`, which is well-formed or the test fails. */
export function elements(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const part = /<(\/?)([a-z]+)((?: [a-zA-Z0-9-]+="[^"<&]*")*)(\/?)>|([^<]+)/gy;
  let at = 0;
  for (const match of xml.matchAll(part)) {
    assertEquals(match.index, at, `no XML: ${xml.slice(at, at + 80)}`);
    at += match[0].length;
    const [, closes, name, attributes, alone, text] = match;
    if (text !== undefined) {
      assert(!/&(?!(amp|lt|gt|quot);)/.test(text), text);
      continue;
    }
    const keys = [...attributes!.matchAll(/ ([a-zA-Z0-9-]+)=/g)];
    assertEquals(new Set(keys.map(([key]) => key)).size, keys.length, match[0]);
    if (closes === "/") assertEquals(open.pop(), name);
    else {
      names.push(name!);
      if (alone === "") open.push(name!);
    }
  }
  assertEquals(at, xml.length, `no XML: ${xml.slice(at, at + 80)}`);
  assertEquals(open, []);
  return names;
}
