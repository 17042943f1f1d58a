/**
 * Why a path can't be used, and what to do.
 *
 * @module
 */
import type { SystemError } from "../errors.ts";
import {
  EACCES,
  EDQUOT,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENFILE,
  ENOENT,
  ENOSPC,
  ENOTDIR,
  EPERM,
  EROFS,
} from "../ffi/abi.ts";
import { systemError } from "../ffi/errno.ts";
import { type FileKind, pathStatus } from "../ffi/status.ts";

/** What was to be done: read or write a file that is there, or make it. */
export type PathUse = "read" | "write" | "read and write" | "make";

/**
 * What mends each failure. To make a file, one needs its directory; else one
 * needs the file itself.
 */
const REMEDIES: Readonly<
  Record<number, (path: string, use: PathUse) => string>
> = {
  [ENOENT]: (path, use) =>
    missingDirectory(path) ??
      (use === "make"
        ? "its directory is missing, make it first"
        : "there is no such file, name another"),
  [ENOTDIR]: (path) => `${noDirectory(path)}, name another`,
  [EISDIR]: () => "it is a directory, name a file",
  [EACCES]: permission,
  [EPERM]: permission,
  [EROFS]: () => "its file system is read-only, name a path on another one",
  [ELOOP]: () =>
    "its symbolic links lead back to themselves, name the file itself",
  [ENAMETOOLONG]: () =>
    "a name has 255 bytes at most and a path 4095, use shorter ones",
  [ENOSPC]: () => "its file system is full, make room",
  [EDQUOT]: () => "this user's quota is used up, make room",
  [EMFILE]: () => "raise the limit of open files (ulimit -n)",
  [ENFILE]: () => "raise the host's limit of open files (sysctl fs.file-max)",
};

/**
 * The error of `call` having failed with the positive `failure` on `path`;
 * `special` is a remedy that fits better than the one of the table.
 */
export function pathError(
  call: string,
  failure: number,
  path: string,
  use: PathUse,
  special?: string,
): SystemError {
  const remedy = special ?? REMEDIES[failure]?.(path, use);
  return systemError(call, failure, {
    path,
    ...(remedy === undefined ? {} : { remedy }),
  });
}

/** What to do where the directory of `path` is missing; null where it is there. */
export function missingDirectory(path: string): string | null {
  const directory = directoryOf(path);
  if (kindOf(directory) !== null) return null;
  return "its directory is missing, make it first, as with mkdir -p " +
    shellWord(directory);
}

/** `text` as one word of a command line for a shell. */
export function shellWord(text: string): string {
  if (/^[\p{L}\p{N}@%+=:,./_][\p{L}\p{N}@%+=:,./_-]*$/u.test(text)) return text;
  const quoted = /\p{Cc}/u.test(text)
    ? `$'${text.replaceAll(/[\\']/g, "\\$&")}'`
    : `'${text.replaceAll("'", "'\\''")}'`;
  // A word that starts with a dash is taken for an option.
  return text.startsWith("-") ? quoted.replace("-", "./-") : quoted;
}

function permission(path: string, use: PathUse): string {
  return use === "make"
    ? `give this user the permission to write to ${directoryOf(path)}, or ` +
      "name a path elsewhere"
    : `give this user the permission to ${use} it`;
}

/** Which part of `path` should be a directory and is none. */
function noDirectory(path: string): string {
  for (let at = path.indexOf("/", 1); at > 0; at = path.indexOf("/", at + 1)) {
    const part = path.slice(0, at);
    const kind = kindOf(part);
    if (kind === null) break;
    // A symbolic link is none of the kinds, and leads to what is not known.
    if (kind !== "directory" && kind !== "anonymous file") {
      return `${part} is a ${kind} and no directory`;
    }
  }
  return "a part of it is no directory";
}

function directoryOf(path: string): string {
  const end = path.lastIndexOf("/");
  if (end === 0) return "/";
  return end < 0 ? "." : path.slice(0, end);
}

function kindOf(path: string): FileKind | null {
  try {
    return pathStatus(path).kind;
  } catch {
    return null;
  }
}
