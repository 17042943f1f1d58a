/**
 * Processes that run as they do for users.
 *
 * @module
 */

/** What turns the counting of coverage on. */
const COVERAGE = "DENO_COVERAGE_DIR";

/**
 * Options of a Deno.Command whose processes count no coverage, whatever this one
 * does: code that counts is compiled otherwise, and makes garbage of its own.
 */
export function uncounted(
  more: Readonly<Record<string, string>> = {},
): { clearEnv: true; env: Record<string, string> } {
  const { [COVERAGE]: _, ...env } = Deno.env.toObject();
  return { clearEnv: true, env: { ...env, ...more } };
}
