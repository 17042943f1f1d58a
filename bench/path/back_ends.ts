/**
 * The back-ends that are measured side by side, each with its best settings.
 *
 * @module
 */

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** A program that serves a disk at a socket. */
export interface Contender {
  /** As in the tables. */
  readonly name: string;
  /** Program and arguments. */
  command(socketPath: string, file: string): string[];
}

const ringside = (
  name: string,
  permissions: string[],
  options: string[],
): Contender => ({
  name,
  command: (socketPath, file) => [
    ...[Deno.execPath(), "run", ...permissions, MAIN, "block"],
    ...["--socket-path", socketPath, "--blk-file", file, ...options],
  ],
});

/** The peer, with an I/O thread and io_uring. */
const storageDaemon = (name: string, pollMaxNs?: number): Contender => ({
  name,
  command: (socketPath, file) => [
    "qemu-storage-daemon",
    "--object",
    "iothread,id=thread" +
    (pollMaxNs === undefined ? "" : `,poll-max-ns=${pollMaxNs}`),
    "--blockdev",
    `driver=file,node-name=disk,filename=${file},aio=io_uring`,
    "--export",
    "type=vhost-user-blk,id=export,addr.type=unix," +
    `addr.path=${socketPath},node-name=disk,writable=on,iothread=thread`,
  ],
});

/** All of them. */
export const CONTENDERS: readonly Contender[] = [
  ringside("ringside", ["--allow-ffi", "--allow-read"], []),
  ringside("ringside inline", ["--allow-ffi"], []),
  ringside("ringside sync", ["--allow-ffi", "--allow-read"], [
    "--io-engine",
    "sync",
  ]),
  storageDaemon("qemu-storage-daemon"),
];
