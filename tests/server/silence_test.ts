/**
 * The data plane allocates nothing a request and stays compiled: a million
 * requests without one garbage collection or deoptimisation.
 */
import { assert, assertEquals } from "@std/assert";
import { BlockLoad } from "../../src/load/block_load.ts";
import { follow } from "../support/follow.ts";
import { uncounted } from "../support/uncounted.ts";
import { eventually } from "../vm/deadline.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const MIB = 1 << 20;
const REQUESTS = 1_000_000;
/**
 * Millions of requests in which the compiler may still learn: which paths are
 * taken first depends on what else the machine does. What goes on for ever, as
 * garbage by the request does, is never silent.
 */
const WARM_UP_ROUNDS = 6;
/**
 * On the main thread the event loop gets a turn once a millisecond, which
 * allocates. One object a request would be twenty collections or more.
 */
const TOLERATED = 7;

/** The back-end with V8's own log on its standard output. */
class TracedBackEnd implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "ringside-silence-" });
  readonly socketPath = `${this.directory}/disk.sock`;
  readonly #process: Deno.ChildProcess;
  readonly #followed: Promise<void>[];
  output = "";
  complaints = "";

  constructor(disk: "file" | "null", plane: "inline" | "worker") {
    const file = `${this.directory}/disk.img`;
    Deno.writeFileSync(file, new Uint8Array(16 * MIB));
    // V8 prints through the C library, which would hold a pipe's lines back.
    this.#process = new Deno.Command("stdbuf", {
      args: [
        "-oL",
        Deno.execPath(),
        "run",
        "--v8-flags=--trace-gc,--trace-deopt",
        "--allow-ffi",
        ...(plane === "worker" ? ["--allow-read"] : []),
        MAIN,
        "block",
        "--socket-path",
        this.socketPath,
        ...(disk === "file" ? ["--blk-file", file] : ["--blk-null", "16M"]),
        "--data-plane",
        plane,
      ],
      stdout: "piped",
      stderr: "piped",
      ...uncounted(),
    }).spawn();
    this.#followed = [
      follow(this.#process.stdout, (text) => this.output += text),
      follow(this.#process.stderr, (text) => this.complaints += text),
    ];
  }

  async listening(): Promise<void> {
    await eventually(
      () => this.complaints.includes("listens"),
      20_000,
      () => `The back-end does not listen: ${this.complaints}`,
    );
  }

  /** The output once it stands still; this thread has kept it waiting. */
  async settled(): Promise<string> {
    let seen = "";
    await eventually(
      () => seen === (seen = this.output) && seen !== "",
      5_000,
      () => "The back-end prints on and on, or nothing",
    );
    return seen;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
    await Promise.all(this.#followed);
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** What V8 says of collections and of code that it threw away. */
function noise(text: string): string[] {
  return text.split("\n").filter((line) =>
    /\bms: (Scavenge|Mark-Compact|Minor)|bailout \(kind/.test(line)
  );
}

/** What V8 says during a million reads, once it has warmed up. */
async function listen(
  disk: "file" | "null",
  plane: "inline" | "worker",
  tolerated: number,
): Promise<string[]> {
  await using backEnd = new TracedBackEnd(disk, plane);
  await backEnd.listening();
  using load = await BlockLoad.open(backEnd.socketPath, {
    depth: 32,
    polled: false,
  });
  let heard: string[] = [];
  let before = "";
  for (let round = 0; round <= WARM_UP_ROUNDS; round++) {
    const { requests } = load.run({ requests: REQUESTS });
    assertEquals(requests, REQUESTS);
    const after = await backEnd.settled();
    heard = noise(after.slice(before.length));
    before = after;
    if (round > 0 && heard.length <= tolerated) break;
  }
  // Else the trace is off, and the silence means nothing.
  assert(noise(before).length > 0, "V8 says nothing even at the start");
  return heard;
}

for (const disk of ["file", "null"] as const) {
  Deno.test(`a million reads of the ${disk} disk on a worker: no garbage collection, no deoptimisation`, async () => {
    assertEquals(await listen(disk, "worker", 0), []);
  });

  Deno.test(`a million reads of the ${disk} disk on the main thread: only the event loop makes garbage`, async () => {
    const heard = await listen(disk, "inline", TOLERATED);
    assert(heard.length <= TOLERATED, heard.join("\n"));
  });
}
