/**
 * The processes that serve a guest's disk, ringside and its peer from QEMU,
 * behind one face, and what /proc tells of them.
 *
 * @module
 */
import { follow } from "../support/follow.ts";
import { eventually, withDeadline } from "./deadline.ts";

/** How a disk is served. What a field leaves out is the program's default. */
export interface DiskOptions {
  /** Where to listen. */
  socketPath: string;
  /** The disk image. */
  file: string;
  /** Rings offered; 4 unless given. */
  queueCount?: number;
  /** The virtio serial, at most 20 bytes. qemu-storage-daemon has none. */
  serial?: string;
  /** Refuse writes. */
  readOnly?: boolean;
  /** The logical block size in bytes. */
  blockSize?: number;
  /** `io_uring` or `sync`. */
  ioEngine?: string;
  /** `inline` or `worker`. */
  dataPlane?: string;
  /** More options for ringside. */
  more?: readonly string[];
}

/** A program that serves a disk over vhost-user. */
export interface BackEndKind {
  /** As in the names of tests. */
  readonly name: string;
  /** Whether a guest sees the serial it was given. */
  readonly hasSerial: boolean;
  /** Whether it has the engines and planes of ringside to choose from. */
  readonly hasEngines: boolean;
  /** Whether its log says that it listens, which it does once it serves. */
  readonly saysListens?: boolean;
  /** How many devices say so, in no order; 1 unless given. */
  readonly deviceCount?: number;
  /** Program and arguments. */
  command(options: DiskOptions): string[];
}

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** ringside as it is run by its users. */
export const ringside: BackEndKind = {
  name: "ringside",
  hasSerial: true,
  hasEngines: true,
  saysListens: true,
  command(options) {
    const permissions = ["--allow-ffi"];
    // A worker loads its module; inline must do without that.
    if (options.dataPlane !== "inline") permissions.push("--allow-read");
    const command = [Deno.execPath(), "run", "--no-prompt", ...permissions];
    command.push(MAIN, "block");
    command.push("--socket-path", options.socketPath);
    command.push("--blk-file", options.file);
    command.push("--num-queues", String(options.queueCount ?? 4));
    if (options.serial !== undefined) command.push("--serial", options.serial);
    if (options.readOnly) command.push("--read-only");
    if (options.blockSize !== undefined) {
      command.push("--block-size", String(options.blockSize));
    }
    if (options.ioEngine !== undefined) {
      command.push("--io-engine", options.ioEngine);
    }
    if (options.dataPlane !== undefined) {
      command.push("--data-plane", options.dataPlane);
    }
    command.push(...options.more ?? []);
    return command;
  },
};

/** The peer: shows that what a scenario expects isn't an invention of ours. */
export const qemuStorageDaemon: BackEndKind = {
  name: "qemu-storage-daemon",
  hasSerial: false,
  hasEngines: false,
  command(options) {
    const read = options.readOnly ? "on" : "off";
    const write = options.readOnly ? "off" : "on";
    const size = options.blockSize ?? 512;
    return [
      "qemu-storage-daemon",
      "--blockdev",
      `driver=file,node-name=disk,filename=${options.file},` +
      `discard=unmap,read-only=${read}`,
      "--export",
      "type=vhost-user-blk,id=export,addr.type=unix," +
      `addr.path=${options.socketPath},node-name=disk,writable=${write},` +
      `num-queues=${options.queueCount ?? 4},logical-block-size=${size}`,
    ];
  },
};

/** What a process holds that serving a guest takes. */
export interface Holdings {
  /** Open descriptors, by what they are (`socket`, `anon_inode:[eventfd]` ...). */
  descriptors: Record<string, number>;
  /** Mappings of guest memory. */
  guestMappings: number;
}

/** Holdings as one line, to compare and to print. */
export function describeHoldings(holdings: Holdings): string {
  const kinds = Object.entries(holdings.descriptors)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, count]) => `${count} ${kind}`);
  return `${kinds.join(", ")}; ${holdings.guestMappings} guest mappings`;
}

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
const SETTLE_TIMEOUT_MS = 10_000;

/**
 * Whether somebody in the network namespace of process `pid` listens at `path`:
 * the file is there a moment earlier.
 */
function listening(path: string, pid: number): boolean {
  let table: string;
  try {
    table = Deno.readTextFileSync(`/proc/${pid}/net/unix`);
  } catch {
    return false; // It has ended.
  }
  // Num RefCount Protocol Flags Type St Inode Path, see unix(7); the flag is
  // SO_ACCEPTCON.
  return table.split("\n").some((line) =>
    line.endsWith(` ${path}`) && line.split(/\s+/)[3] === "00010000"
  );
}

/** A running back-end. Dispose it: that ends the process whatever its state. */
export class BackEnd implements AsyncDisposable {
  /** Where it listens. */
  readonly socketPath: string;
  #process: Deno.ChildProcess;
  #ended: Promise<Deno.CommandStatus>;
  #status: Deno.CommandStatus | null = null;
  #log = "";
  #logged: Promise<unknown>;

  private constructor(process: Deno.ChildProcess, socketPath: string) {
    this.socketPath = socketPath;
    this.#process = process;
    this.#ended = process.status.then((status) => this.#status = status);
    this.#logged = Promise.all([
      follow(process.stdout, (text) => this.#log += text),
      follow(process.stderr, (text) => this.#log += text),
    ]);
  }

  /** Starts the program and resolves once it serves who connects. */
  static async start(
    kind: BackEndKind,
    options: DiskOptions,
  ): Promise<BackEnd> {
    const [program, ...args] = kind.command(options);
    const process = new Deno.Command(program!, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const backEnd = new BackEnd(process, options.socketPath);
    try {
      const { saysListens, deviceCount = 1 } = kind;
      const count = saysListens ? deviceCount : 0;
      await eventually(
        () =>
          backEnd.#status !== null ||
          listening(options.socketPath, backEnd.pid) &&
            backEnd.#log.split(" listens on ").length > count,
        START_TIMEOUT_MS,
        () => `No socket of ${kind.name}: ${backEnd.log}`,
      );
      if (backEnd.#status !== null) {
        await backEnd.#logged;
        throw new Error(
          `${kind.name} ended with ${backEnd.#status.code} at its start: ` +
            backEnd.log,
        );
      }
      return backEnd;
    } catch (error) {
      await backEnd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** What it wrote to its standard output and error so far. */
  get log(): string {
    return this.#log.trim();
  }

  /** Counts what the process holds now. */
  holdings(): Holdings {
    const descriptors: Record<string, number> = {};
    const directory = `/proc/${this.pid}/fd`;
    for (const { name } of Deno.readDirSync(directory)) {
      let target: string;
      try {
        target = Deno.readLinkSync(`${directory}/${name}`);
      } catch {
        continue; // Closed since it was listed.
      }
      const kind = target.replace(/:\[\d+\]$/, "").replace(/ \(deleted\)$/, "")
        .replace(/^.*\/(?=.*\.img$)/, "");
      // Deno opens its own caches when it likes.
      if (/_cache_v\d+(-shm|-wal|-journal)?$/.test(kind)) continue;
      if (/\/deno\/gen\/file\//.test(kind)) continue;
      descriptors[kind] = (descriptors[kind] ?? 0) + 1;
    }
    const guestMappings = Deno.readTextFileSync(`/proc/${this.pid}/maps`)
      .split("\n")
      .filter((line) => line.includes("/memfd:")).length;
    return { descriptors, guestMappings };
  }

  /** The names of its threads. */
  threads(): string[] {
    const directory = `/proc/${this.pid}/task`;
    return [...Deno.readDirSync(directory)].map(({ name }) =>
      Deno.readTextFileSync(`${directory}/${name}/comm`).trim()
    );
  }

  /**
   * Waits until the process holds what it held before, or rejects with the
   * difference: a back-end learns of the end of a front-end from its socket,
   * some time after it.
   */
  async settle(before: Holdings): Promise<void> {
    const wanted = describeHoldings(before);
    let now = "";
    await eventually(
      () => (now = describeHoldings(this.holdings())) === wanted,
      SETTLE_TIMEOUT_MS,
      () => `The back-end holds ${now}, wanted ${wanted}`,
    );
  }

  /** Sends `signal` and resolves with how the process ended. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    this.#process.kill(signal);
    try {
      return await withDeadline(this.#ended, STOP_TIMEOUT_MS);
    } catch (error) {
      throw new Error(`The back-end ignores SIGTERM: ${this.log}`, {
        cause: error,
      });
    }
  }

  /** Ends the process if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#status === null) {
      try {
        this.#process.kill("SIGKILL");
      } catch {
        // It has ended.
      }
    }
    await this.#ended;
    await this.#logged;
  }
}
