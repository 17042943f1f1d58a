/**
 * The programs whose start is measured side by side.
 *
 * @module
 */
import { SOURCES } from "../peers/cards.ts";
import {
  type Contender as BackEnd,
  MAIN,
  withMain,
  WORKERS,
} from "../peers/contender.ts";
import { DISKS } from "../peers/disks.ts";

/** What is started, and what tells that it has. */
export interface Contender {
  /** As in the table. */
  readonly name: string;
  /** Program and arguments, where all files go to `directory`. */
  command(directory: string): string[];
  /** The sockets it listens on; where there are none, it runs to its end. */
  sockets(directory: string): string[];
}

/** A disk in the directory. */
const diskOf = (directory: string) => `${directory}/disk.img`;
const socketOf = (directory: string, index = 0) => `${directory}/${index}.sock`;

function script(name: string, ...words: string[]): Contender {
  return {
    name,
    command: () => [Deno.execPath(), "run", ...words],
    sockets: () => [],
  };
}

/** The same by another main module, that of a bundle. */
export function bundled(contender: Contender, main: string): Contender {
  return {
    ...contender,
    name: `${contender.name}, bundled`,
    command: (directory) => withMain(contender.command(directory), main),
  };
}

/** One of the back-ends of `bench:peers`. */
function backEnd(name: string, contender: BackEnd): Contender {
  return {
    name,
    command: (directory) =>
      contender.command({
        socketPath: socketOf(directory),
        file: diskOf(directory),
      }),
    sockets: (directory) => [socketOf(directory)],
  };
}

/** One of its disks. */
function disk(name: string): Contender {
  const found = DISKS.find((contender) => contender.name === name)!;
  return backEnd(name === "ringside" ? "ringside block" : name, found);
}

/** So many null disks in one process. */
export function several(count: number, plane: string): Contender {
  const indexes = Array.from({ length: count }, (_, i) => i);
  return {
    name: `${count} null disks, ${plane}`,
    command: (directory) => {
      const config = `${directory}/ringside.json`;
      const devices = indexes.map((i) => ({
        "device": "block",
        "blk-null": "1G",
        "socket-path": socketOf(directory, i),
        "data-plane": plane,
      }));
      Deno.writeTextFileSync(config, JSON.stringify({ devices }));
      return [
        ...[Deno.execPath(), "run", ...WORKERS],
        ...[MAIN, "serve", "--config", config],
      ];
    },
    sockets: (directory) => indexes.map((i) => socketOf(directory, i)),
  };
}

/**
 * All that start alone; `empty` is a script with nothing in it, `bundle` the
 * main module of a bundle.
 */
export function starters(empty: string, bundle: string): Contender[] {
  return [
    script("deno, an empty script", empty),
    script("ringside --version", MAIN, "--version"),
    disk("ringside"),
    disk("ringside inline"),
    bundled(disk("ringside"), bundle),
    bundled(disk("ringside inline"), bundle),
    backEnd("ringside rng", SOURCES[0]!),
    disk("qemu-storage-daemon"),
  ];
}
