/**
 * A revision of this repository, in a folder of its own.
 *
 * @module
 */
import { UsageError } from "../../src/errors.ts";
import { MAIN } from "../peers/contender.ts";
import { spawning } from "../programs.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Besides a revision: what is here, committed or not. */
export const WORKING_TREE = "working tree";

/** The output of git; null where it fails. */
async function git(...args: string[]): Promise<string | null> {
  const command = new Deno.Command("git", {
    args: ["-C", ROOT, ...args],
    stderr: "null",
  });
  const { success, stdout } = await spawning("git", () => command.output());
  return success ? new TextDecoder().decode(stdout).trim() : null;
}

/** The short name of the commit that `word` names, or null. */
export function commitOf(word: string): Promise<string | null> {
  return git("rev-parse", "--short", "--verify", "--quiet", `${word}^{commit}`);
}

/** Two revisions, and the works that they are to do. */
export interface Sides {
  readonly before: string;
  readonly after: string;
  readonly words: readonly string[];
}

/**
 * What is to be compared, of the words of a command line: the second may be a
 * revision too, else it is the working tree. Throws where the first is none.
 */
export async function sidesOf(
  words: readonly string[],
  commit: (word: string) => Promise<string | null> = commitOf,
): Promise<Sides> {
  const [first, second, ...rest] = words;
  const before = first === undefined ? null : await commit(first);
  if (before === null) {
    throw new UsageError(
      first === undefined
        ? "There is no revision to compare with: name one, as HEAD"
        : `${first} is no revision of this repository: name one, as HEAD`,
    );
  }
  if (second === undefined || second === WORKING_TREE) {
    return { before, after: WORKING_TREE, words: rest };
  }
  const after = await commit(second);
  return after === null
    ? { before, after: WORKING_TREE, words: words.slice(1) }
    : { before, after, words: rest };
}

/** The tree of a revision, until it is disposed of. */
export class Tree implements AsyncDisposable {
  /** As in the tables. */
  readonly name: string;
  /** Its main module. */
  readonly main: string;
  readonly #folder: string | null;

  private constructor(name: string, folder: string | null) {
    this.name = name;
    this.#folder = folder;
    this.main = folder === null ? MAIN : `${folder}/main.ts`;
  }

  /** Checks `revision` out below `directory`; the working tree is there. */
  static async of(revision: string, directory: string): Promise<Tree> {
    if (revision === WORKING_TREE) return new Tree(revision, null);
    const folder = `${directory}/${revision}`;
    const added = await git("worktree", "add", "--detach", folder, revision);
    if (added === null) {
      throw new Error(`git can't check ${revision} out into ${folder}`);
    }
    return new Tree(revision, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#folder === null) return;
    await git("worktree", "remove", "--force", this.#folder);
  }
}
