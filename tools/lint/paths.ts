/**
 * Files by their path from the root of the repository.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url).pathname;

/** The path of `file` from the root of the repository, with slashes. */
export function repositoryPath(file: string): string {
  const path = file.startsWith("file://") ? new URL(file).pathname : file;
  return path.startsWith(ROOT) ? path.slice(ROOT.length) : path;
}

/** Whether `path` is a test. */
export function isTest(path: string): boolean {
  return path.endsWith("_test.ts");
}

/** The path that `specifier` means in the file `path`, both from the root. */
export function resolvePath(path: string, specifier: string): string {
  return new URL(specifier, `file:///${path}`).pathname.slice(1);
}
