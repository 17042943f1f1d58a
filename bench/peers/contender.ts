/**
 * A program whose work is measured.
 *
 * @module
 */

/** Where a program finds things. */
export interface Place {
  /** The socket to listen on. */
  readonly socketPath: string;
  /** The disk's image. */
  readonly file: string;
}

/** A back-end, with its best settings. */
export interface Contender {
  /** As in the tables. */
  readonly name: string;
  /** Program and arguments. */
  command(place: Place): string[];
  /** Options of `ringside bench` that it takes beside those of the work. */
  readonly load?: readonly string[];
}

/** ringside itself. */
export const MAIN: string = new URL("../../main.ts", import.meta.url).pathname;

/** A device of ours; the rings run on workers where `permissions` allow. */
export function ringside(
  name: string,
  permissions: readonly string[],
  words: (place: Place) => string[],
): Contender {
  return {
    name,
    command: (place) => {
      const [device, ...options] = words(place);
      return [
        ...[Deno.execPath(), "run", ...permissions, MAIN, device!],
        ...["--socket-path", place.socketPath, ...options],
      ];
    },
  };
}

/** What rings on workers need. */
export const WORKERS: readonly string[] = ["--allow-ffi", "--allow-read"];

/** Whether `contender` is one of ours, however it runs. */
export function isOurs({ name }: Pick<Contender, "name">): boolean {
  return name.startsWith("ringside");
}

/** The command `words` of one of ours, from another main module. */
export function withMain(words: readonly string[], main: string): string[] {
  return words.map((word) => word === MAIN ? main : word);
}
