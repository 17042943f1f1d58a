import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { BlockLoad } from "../../src/load/block_load.ts";
import { LoadError } from "../../src/load/mod.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { Server } from "../../src/server/server.ts";
import { type DiskDefects, wrongDisk } from "../check/support/wrong_disk.ts";
import { Running, Scratch } from "../cli/program.ts";
import { bench } from "./support.ts";

const QUICK = ["--warm-up", "0"];
const IMPATIENT = [...QUICK, "--stall-limit", "1"];

Deno.test("a back-end that answers no message is given up, exit code 1", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  // It listens, and never accepts.
  using _listener = Deno.listen({ transport: "unix", path: socket });
  const { code, out, err } = await bench(scratch, [
    ...["block", "--socket-path", socket, ...IMPATIENT],
  ]);
  assertEquals(out, "");
  assertEquals(
    err,
    "ringside: The back-end did not answer the front-end for 1 s: it hangs, " +
      "or serves another front-end\n",
  );
  assertEquals(code, 1);
});

for (const mode of ["--polled", "--indirect"]) {
  Deno.test(`a back-end that stops in the run is given up (${mode})`, async () => {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    await using disk = new Running(["--allow-ffi", "--allow-read"], [
      ...["block", "--socket-path", socket, "--blk-null", "1M"],
    ]);
    await disk.says("listens");
    const running = bench(scratch, [
      ...["block", "--socket-path", socket, ...IMPATIENT, "--time", "60", mode],
    ]);
    await disk.says("connected");
    Deno.kill(disk.pid, "SIGSTOP");
    const { code, err } = await running;
    Deno.kill(disk.pid, "SIGCONT");
    assertEquals(code, 1);
    assertMatch(
      err,
      /^ringside: The back-end (gave nothing back|did not answer the front-end) for 1 s[^\n]+\n$/,
    );
  });
}

for (const polled of [true, false]) {
  const kind = polled ? "polls" : "sleeps";
  Deno.test(`a back-end that died is seen by a driver that ${kind}`, async () => {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    await using disk = new Running(["--allow-ffi", "--allow-read"], [
      ...["block", "--socket-path", socket, "--blk-null", "1M"],
    ]);
    await disk.says("listens");
    // The limit is longer than any test may take.
    const options = { depth: 7, polled, stallMs: 3_600_000 };
    using load = await BlockLoad.open(socket, options);
    assertEquals(load.run({ requests: 100 }).failures, 0);
    await disk.end("SIGKILL");
    assertThrows(
      () => load.run({ requests: 100 }),
      LoadError,
      "The back-end hung up while it had 7 buffers: it ended or crashed",
    );
  });
}

/** What the bench says of a disk of this process, with defects. */
async function benchWrong(scratch: Scratch, defects: DiskDefects) {
  const socketPath = scratch.file("s");
  const options = { socketPath, dataPlane: "inline" } as const;
  const server = await Server.open("wrong", wrongDisk(defects), options);
  const running = server.run();
  try {
    return await bench(scratch, [
      ...["block", "--socket-path", socketPath, ...QUICK, "--requests", "600"],
      ...["--mix", "read=1,write=1,flush=1", "--destructive", "--verify"],
    ]);
  } finally {
    await server.stop();
    await running;
    await Reactor.main.idle();
  }
}

Deno.test("a used length that is wrong is told, exit code 1", async () => {
  const cases = [
    [(right: number) => right, 0, /^$/],
    // Flushes and writes have a status alone.
    [(right: number) => right === 1 ? 1 : right - 1, 1, /first with 4096, w/],
    [(right: number) => right === 1 ? 0 : right, 1, /first with 0, wanted 1\n/],
  ] as const;
  for (const [written, wanted, complaint] of cases) {
    await using scratch = new Scratch();
    const { code, err, report } = await benchWrong(scratch, { written });
    assertMatch(err, complaint);
    assertEquals(code, wanted);
    assertEquals(report!.requests, 600);
    assertEquals(report!.errors, 0);
  }
});

Deno.test("a back-end that hangs up is one line", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  using listener = Deno.listen({ transport: "unix", path: socket });
  const running = bench(scratch, ["rng", "--socket-path", socket, ...QUICK]);
  const connection = await listener.accept();
  connection.close();
  const { code, err } = await running;
  assertEquals(code, 1);
  assertMatch(err, /^ringside: [A-Z][^\n]+[^.]\n$/);
});

Deno.test("what the back-end does not have is one line", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using disk = new Running(["--allow-ffi", "--allow-read"], [
    ...["block", "--socket-path", socket, "--num-queues", "2"],
    ...["--blk-file", await scratch.image(1 << 20), "--read-only"],
  ]);
  await disk.says("listens");
  const cases = [
    ["--mix write --destructive", "The disk is read-only, but the mix has"],
    ["--queues 3", "The back-end has 2 rings, but 3 are wanted: ask for fewer"],
    ["--size 2M", "The range has room for 0 requests of 2097152 bytes"],
    ["--depth 100 --ring-size 16", "Rings have 16 entries, but 100 requests"],
    ["--ring-size 32768", "The back-end refuses rings of 32768 entries: ask"],
    ["--backend-pid 2147483647", "There is no process 2147483647: give"],
  ] as const;
  for (const [options, wanted] of cases) {
    const { code, out, err } = await bench(
      scratch,
      [
        ...["block", "--socket-path", socket, ...QUICK, "--requests", "1"],
        ...options.split(" "),
      ],
    );
    assert(err.startsWith(`ringside: ${wanted}`), err);
    assertEquals(out, "");
    assertMatch(err, /^ringside: [^\n]+\n$/);
    assert(code === 1 || code === 2);
  }
});
