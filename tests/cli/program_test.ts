import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { Running, runProgram, Scratch } from "./program.ts";

const FFI = ["--allow-ffi"];
const FFI_AND_READ = ["--allow-ffi", "--allow-read"];

/** Wants one line that has all of `parts`, and no stack. */
function assertOneLine(err: string, ...parts: string[]): void {
  assertMatch(err, /^ringside: [^\n]+\n$/);
  for (const part of parts) assertStringIncludes(err, part);
}

/** What the program says when it serves `args` with --allow-ffi. */
async function complaint(args: string[], code: number): Promise<string> {
  const outcome = await runProgram(FFI, ["block", ...args]);
  assertEquals(outcome.code, code, outcome.err);
  assertEquals(outcome.out, "");
  return outcome.err;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("--version needs no permission", async () => {
  const { code, out } = await runProgram([], ["--version"]);
  assertEquals(code, 0);
  assertMatch(out, /^ringside \d+\.\d+\.\d+\n$/);
});

Deno.test("the help and the capabilities need --allow-ffi only", async () => {
  const help = await runProgram(FFI, ["block", "--help"]);
  assertEquals([help.code, help.err], [0, ""]);
  assertStringIncludes(help.out, "--blk-file PATH");
  const asked = ["block", "--print-capabilities"];
  const { code, out } = await runProgram(FFI, asked);
  assertEquals(code, 0);
  assertEquals(JSON.parse(out), {
    type: "block",
    features: ["blk-file", "read-only"],
  });
});

Deno.test("a missing permission is one line with the remedy", async () => {
  const { code, err } = await runProgram([], ["block", "--help"]);
  assertEquals(code, 2);
  assertOneLine(err, "--allow-ffi");
});

Deno.test("workers without --allow-read are one line", async () => {
  await using scratch = new Scratch();
  const disk = await scratch.image(1 << 20);
  const args = ["--socket-path", scratch.file("s"), "--blk-file", disk];
  const plane = await complaint([...args, "--data-plane", "worker"], 2);
  assertOneLine(plane, "--data-plane worker needs workers", "--allow-read");
  const threads = await complaint([...args, "--queue-threads", "2"], 2);
  assertOneLine(threads, "--queue-threads 2 needs workers", "--allow-read");
});

Deno.test("a file that isn't there is one line", async () => {
  await using scratch = new Scratch();
  const path = scratch.file("absent.img");
  const args = ["--socket-path", scratch.file("s"), "--blk-file", path];
  assertOneLine(await complaint(args, 1), "ENOENT", path);
});

Deno.test("a directory as a disk is one line", async () => {
  await using scratch = new Scratch();
  const args = ["--socket-path", scratch.file("s")];
  const err = await complaint([...args, "--blk-file", scratch.path], 2);
  assertOneLine(err, scratch.path, "is a directory");
});

Deno.test("a size that is no multiple of the block size is one line", async () => {
  await using scratch = new Scratch();
  const args = ["--socket-path", scratch.file("s"), "--blk-file"];
  const odd = await complaint([...args, await scratch.image(1000)], 2);
  assertOneLine(odd, "1000 bytes", "multiple of the block size 512", "1024");
  const empty = await complaint([...args, await scratch.image(0)], 2);
  assertOneLine(empty, "is empty");
});

Deno.test("a disk is needed, and one is enough", async () => {
  const none = await complaint(["--socket-path", "s"], 2);
  assertOneLine(none, "--blk-file PATH", "--blk-null SIZE");
});

Deno.test("a socket path that is too long is one line", async () => {
  const path = `/tmp/${"x".repeat(120)}`;
  const args = ["--socket-path", path, "--blk-null", "1M"];
  assertOneLine(await complaint(args, 2), "125 bytes", "107 at most");
});

Deno.test("a socket in a directory that isn't there is one line", async () => {
  await using scratch = new Scratch();
  const path = scratch.file("absent/s");
  const args = ["--socket-path", path, "--blk-null", "1M"];
  assertOneLine(await complaint(args, 1), "ENOENT", path);
});

Deno.test("a file that is no socket is left alone", async () => {
  await using scratch = new Scratch();
  const path = await scratch.image(512);
  const args = ["--socket-path", path, "--blk-null", "1M"];
  assertOneLine(await complaint(args, 1), path);
  assert(exists(path), "the file was removed");
});

Deno.test("a descriptor that isn't open is one line", async () => {
  const err = await complaint(["--fd", "77", "--blk-null", "1M"], 2);
  assertOneLine(err, "Descriptor 77 is not an open socket");
});

for (
  const [plane, permissions] of [
    ["inline", FFI],
    ["worker", FFI_AND_READ],
  ] as const
) {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.test(`${signal} ends the ${plane} plane cleanly`, async () => {
      await using scratch = new Scratch();
      const path = scratch.file("s");
      const disk = await scratch.image(1 << 20);
      const args = ["block", "--socket-path", path, "--blk-file", disk];
      args.push("--data-plane", plane);
      await using running = new Running([...permissions], args);
      await running.says("listens on");
      assert(exists(path), "there is no socket");
      const { code, err } = await running.end(signal);
      assertEquals(code, 0, err);
      assert(!exists(path), "the socket was left behind");
    });
  }
}

Deno.test("a stale socket is replaced, a live one is an error", async () => {
  await using scratch = new Scratch();
  const path = scratch.file("s");
  const args = ["--socket-path", path, "--blk-null", "1M"];
  {
    await using killed = new Running(FFI, ["block", ...args]);
    await killed.says("listens on");
  }
  assert(exists(path), "SIGKILL leaves the socket");
  await using running = new Running(FFI, ["block", ...args]);
  await running.says("listens on");
  assertOneLine(await complaint(args, 1), path);
  assert(exists(path), "the live socket was removed");
  const { code } = await running.end("SIGTERM");
  assertEquals(code, 0);
});

Deno.test("--log-level error is silent while all is well", async () => {
  await using scratch = new Scratch();
  const path = scratch.file("s");
  const args = ["block", "--socket-path", path, "--blk-null", "1M"];
  args.push("--log-level", "error");
  const watcher = Deno.watchFs(scratch.path);
  await using running = new Running(FFI, args);
  for await (const event of watcher) if (event.kind === "create") break;
  const { code, err } = await running.end("SIGTERM");
  assertEquals([code, err], [0, ""]);
});

Deno.test("serve needs --allow-ffi only, and all is inline then", async () => {
  await using scratch = new Scratch();
  const config = scratch.file("ringside.json");
  const socket = scratch.file("rng.sock");
  const devices = [{ "device": "rng", "socket-path": socket }];
  await Deno.writeTextFile(config, JSON.stringify({ devices }));
  await using running = new Running(FFI, ["serve", "--config", config]);
  await running.says("rng0 listens");
  assertEquals((await running.end("SIGTERM")).code, 0);
  assert(!exists(socket));
});

Deno.test("a file for serve that isn't there, or is wrong, is one line", async () => {
  await using scratch = new Scratch();
  const config = scratch.file("ringside.json");
  const complaint = async (path: string, wanted: number) => {
    const args = ["serve", "--config", path];
    const { code, err } = await runProgram(FFI, args);
    assertEquals(code, wanted, err);
    return err;
  };
  assertOneLine(await complaint(config, 1), "ENOENT", config, "name another");
  assertOneLine(await complaint(scratch.path, 2), "is a directory");
  assertOneLine(await complaint("/dev/zero", 2), "more than 1048576 bytes");
  await Deno.writeTextFile(config, '{ "devices": [\n  { "device": "rgn" } ] }');
  assertOneLine(await complaint(config, 2), `${config}:2:`, '"rng"');
});

Deno.test("a full output is one line, and not a stack", async () => {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const { code, stderr } = await new Deno.Command("sh", {
    args: ["-c", 'exec "$@" > /dev/full', "sh", Deno.execPath(), "run"]
      .concat("--quiet", FFI, main, "block", "--help"),
    env: { NO_COLOR: "1" },
  }).output();
  const err = new TextDecoder().decode(stderr);
  assertEquals(code, 1, err);
  assertOneLine(err, "Standard output can't be written", "No space left");
});

Deno.test("workers that there are too few descriptors for are one line", async () => {
  await using scratch = new Scratch();
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const limited = async (limit: number, args: string[]) => {
    const command = ["run", "--quiet", ...FFI_AND_READ, main, "block"];
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["-c", `ulimit -n ${limit}; exec "$@"`, "sh", Deno.execPath()]
        .concat(command, "--blk-null", "1M", args),
      env: { NO_COLOR: "1" },
    }).output();
    const err = new TextDecoder().decode(stderr);
    assertEquals(code, 2, err);
    return err;
  };
  const socket = ["--socket-path", scratch.file("s")];
  assertOneLine(
    await limited(100, [...socket, "--queue-threads", "8"]),
    "8 workers need a limit of 128 open files, and it is 100: raise it " +
      "(ulimit -n 128), or use fewer --queue-threads or --data-plane inline",
  );
  assertOneLine(await limited(43, socket), "A worker needs a limit of 44");
  // One that has enough gets as far as the path, which is wrong.
  const long = ["--fd", "77", "--queue-threads", "2"];
  assertOneLine(await limited(56, long), "Descriptor 77 is not an open socket");
});
