/**
 * What a test needs from the machine. A test whose tool is missing is skipped
 * loudly; under `CI=true` it fails, so that a green run has run everything.
 *
 * @module
 */

/** Whether the executable `program` is on the PATH or in sbin. */
export function hasProgram(program: string): boolean {
  const path = Deno.env.get("PATH") ?? "";
  const folders = [...path.split(":"), "/usr/sbin", "/sbin"];
  return folders.some((folder) => {
    try {
      const { isFile, mode } = Deno.statSync(`${folder}/${program}`);
      return isFile && ((mode ?? 0) & 0o111) !== 0;
    } catch {
      return false;
    }
  });
}

/** Whether a missing requirement is a failure: `CI=true`. */
export function underCI(): boolean {
  return Deno.env.get("CI") === "true";
}

/**
 * Whether the tests that need `name` can run, as `check` finds it. Where not,
 * says so on standard error, and under `CI=true` registers a test that fails.
 * For the top level of a test file:
 *
 * ```ts
 * const canRun = requirement("QEMU", () => hasProgram("qemu-system-x86_64"));
 * Deno.test({ name: "boots", ignore: !canRun, fn() {} });
 * ```
 */
export function requirement(name: string, check: () => boolean): boolean {
  let detail = "";
  try {
    if (check()) return true;
  } catch (error) {
    detail = ` (${error instanceof Error ? error.message : error})`;
  }
  const message = `${name} is missing${detail}`;
  console.error(`SKIPPED: ${message}: the tests that need it do not run`);
  if (underCI()) {
    Deno.test(`requires ${name}`, () => {
      throw new Error(`${message}, and under CI=true nothing is skipped`);
    });
  }
  return false;
}
