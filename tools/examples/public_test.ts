import { assertEquals, assertRejects } from "@std/assert";
import { publicSymbols } from "./public.ts";

const FENCE = "```";
const MODULE = `
/** With one that runs.
 *
 * @example Such
 * ${FENCE}ts
 * 1 + 1;
 * ${FENCE}
 */
export class Shown {}

/** With one that does not run.
 *
 * @example Such
 * ${FENCE}ts ignore
 * 1 + 1;
 * ${FENCE}
 */
export class Ignored {}

/** With none. */
export function bare(): void {}

/** Of no interest. */
export interface Shape {}

class Hidden {}
`;

Deno.test("a public class or function without an example is told", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-examples-" });
  try {
    const root = new URL(`file://${directory}/`);
    const inner = new URL("inner.ts", root);
    const entry = new URL("entry.ts", root);
    Deno.writeTextFileSync(inner, MODULE);
    Deno.writeTextFileSync(entry, 'export * from "./inner.ts";\n');
    assertEquals(
      await publicSymbols([entry, inner], root),
      [
        { name: "class Shown", place: "inner.ts:9", hasExample: true },
        { name: "class Ignored", place: "inner.ts:18", hasExample: false },
        { name: "function bare", place: "inner.ts:21", hasExample: false },
      ].sort((a, b) => a.place < b.place ? -1 : 1),
    );
    await assertRejects(
      () => publicSymbols([new URL("none.ts", root)], root),
      Error,
      "Can't read what is public",
    );
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
