/**
 * What of the package is public, and whether it has an example that runs.
 *
 * @module
 */

/** As `deno doc --json` tells it, as far as it is used here. */
interface Doc {
  readonly nodes: Readonly<Record<string, { readonly symbols: Symbol[] }>>;
}

interface Symbol {
  readonly name: string;
  readonly declarations: readonly Declaration[];
}

interface Declaration {
  readonly kind: string;
  readonly location: { readonly filename: string; readonly line: number };
  readonly jsDoc?: { readonly tags?: readonly Tag[] };
}

interface Tag {
  readonly kind: string;
  readonly doc?: string;
}

/** A class or a function that somebody can import. */
export interface PublicSymbol {
  /** `class Chain` or `function openRing`. */
  readonly name: string;
  /** Where it is declared, as `src/virtqueue/chain.ts:60`. */
  readonly place: string;
  /** Whether its comment has an example that `deno test --doc` runs. */
  readonly hasExample: boolean;
}

const KINDS = ["class", "function"];
/** A block of the example; one of `ts ignore` does not run. */
const RUNS = /^```ts$/m;

/** The public classes and functions of the modules `entries`, by their places. */
export async function publicSymbols(
  entries: readonly URL[],
  root: URL,
): Promise<PublicSymbol[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...entries.map(({ href }) => href)],
    env: { NO_COLOR: "1" },
  }).output();
  if (!success) {
    const reason = new TextDecoder().decode(stderr).trim();
    throw new Error(`Can't read what is public: ${reason}`);
  }
  const doc: Doc = JSON.parse(new TextDecoder().decode(stdout));
  const found = new Map<string, PublicSymbol>();
  for (const { symbols } of Object.values(doc.nodes)) {
    for (const { name, declarations } of symbols) {
      for (const { kind, location, jsDoc } of declarations) {
        if (!KINDS.includes(kind)) continue;
        const path = location.filename.replace(root.href, "");
        const place = `${path}:${location.line + 1}`;
        const hasExample = jsDoc?.tags?.some(runs) ?? false;
        found.set(place, { name: `${kind} ${name}`, place, hasExample });
      }
    }
  }
  return [...found.values()].sort((a, b) => a.place < b.place ? -1 : 1);
}

function runs({ kind, doc = "" }: Tag): boolean {
  return kind === "example" && RUNS.test(doc);
}
