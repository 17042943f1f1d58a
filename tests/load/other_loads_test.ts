import { assert, assertEquals, assertMatch } from "@std/assert";
import { Running, runProgram, Scratch } from "../cli/program.ts";
import { bench, benchWell } from "./support.ts";

const QUICK = ["--warm-up", "0"];

/** A device of ours, until it is disposed of. */
async function serve(
  socketPath: string,
  device: string,
  options: string[] = [],
): Promise<Running> {
  const running = new Running(["--allow-ffi", "--allow-read"], [
    ...[device, "--socket-path", socketPath],
    ...options,
  ]);
  await running.says("listens");
  return running;
}

/** The devices of a file, until they are disposed of. */
async function serveFile(config: string): Promise<Running> {
  const running = new Running(["--allow-ffi", "--allow-read"], [
    ...["serve", "--config", config],
  ]);
  await running.says("listens");
  return running;
}

for (const ring of ["split", "packed"]) {
  Deno.test(`frames come back over ${ring} rings, of each size in turn`, async () => {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    await using _card = await serve(socket, "net", ["--backend", "loopback"]);
    const report = await benchWell(scratch, [
      ...["net", "--socket-path", socket, "--ring", ring, ...QUICK],
      ...["--requests", "3000", "--depth", "10", "--size", "60,1514,100"],
    ]);
    assertEquals(report.requests, 3000);
    assertEquals(report.counts, { sent: 3000, received: 3000, lost: 0 });
    assertEquals(report.latency!.count, 3000);
    assertEquals(report.bytes, 1000 * (60 + 1514 + 100));
  });
}

Deno.test("frames are sent over several pairs, in indirect tables", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using _card = await serve(socket, "net", [
    ...["--backend", "loopback", "--queue-pairs", "2"],
  ]);
  const report = await benchWell(scratch, [
    ...["net", "--socket-path", socket, "--direction", "tx", "--indirect"],
    ...["--requests", "3000", "--queues", "2", "--polled", ...QUICK],
  ]);
  assertEquals(report.requests, 3000);
  assertEquals(report.counts.sent, 3000);
  assertEquals(report.latency!.count, 3000);
  assertEquals(report.bytes, 3000 * 64);
});

Deno.test("frames that another sends are received and counted", async () => {
  await using scratch = new Scratch();
  const [ours, theirs] = [scratch.file("a"), scratch.file("b")];
  const config = scratch.file("switch.json");
  const card = { device: "net", backend: "switch" };
  Deno.writeTextFileSync(
    config,
    JSON.stringify({
      devices: [ours, theirs].map((path) => ({
        ...card,
        "socket-path": path,
      })),
    }),
  );
  await using switched = new Running(["--allow-ffi", "--allow-read"], [
    ...["serve", "--config", config],
  ]);
  await switched.says(theirs);
  await using sender = new Running(["--allow-ffi"], [
    ...["bench", "net", "--socket-path", theirs, "--direction", "tx"],
    ...["--time", "60", ...QUICK],
  ]);
  const { report, code } = await bench(scratch, [
    ...["net", "--socket-path", ours, "--direction", "rx", ...QUICK],
    ...["--requests", "2000"],
  ]);
  await sender.end("SIGTERM");
  assertEquals(code, 0);
  assertEquals(report!.requests, 2000);
  assertEquals(report!.counts, { sent: 0, received: 2000, lost: 0 });
  assertEquals(report!.bytes, 2000 * 64);
  assertEquals(report!.latency, null);
});

for (const ring of ["split", "packed"]) {
  Deno.test(`random bytes over ${ring} rings that wrap again and again`, async () => {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    await using _source = await serve(socket, "rng");
    const report = await benchWell(scratch, [
      ...["rng", "--socket-path", socket, "--ring", ring, ...QUICK],
      // More than there are indexes in 16 bits.
      ...["--requests", "70000", "--ring-size", "8", "--depth", "7"],
      ...["--size", "16"],
    ]);
    assertEquals(report.requests, 70_000);
    assertEquals(report.counts, { answered: 70_000 });
    assertEquals(report.bytes, 16 * 70_000);
    assertEquals(report.latency!.count, 70_000);
  });
}

Deno.test("frames of which none comes back are lost, exit code 1", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  const config = scratch.file("switch.json");
  const card = { device: "net", backend: "switch", "socket-path": socket };
  Deno.writeTextFileSync(config, JSON.stringify({ devices: [card] }));
  await using _switched = await serveFile(config);
  const { code, err } = await bench(scratch, [
    ...["net", "--socket-path", socket, ...QUICK, "--time", "1"],
    ...["--stall-limit", "5"],
  ]);
  assertMatch(
    err,
    /^ringside bench: None of [0-9]+ frames came back: the [^\n]+\n$/,
  );
  assertEquals(code, 1);
});

Deno.test("pictures are drawn of a run, and of several reports", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using _source = await serve(socket, "rng");
  const [a, b, svg] = ["a.json", "b.json", "o.svg"].map((name) =>
    scratch.file(name)
  ) as [string, string, string];
  const curves = async (args: string[]) => {
    const outcome = await runProgram(["--allow-ffi"], ["bench", ...args]);
    assertEquals({ ...outcome, out: "" }, { code: 0, out: "", err: "" });
    const text = await Deno.readTextFile(svg);
    return [...text.matchAll(/<title>([^<]*)<.title>\n {4}<polyline/g)]
      .map(([, label]) => label);
  };
  const run = ["rng", "--socket-path", socket, "--requests", "100", ...QUICK];
  assertEquals(
    await curves([...run, "--label", "one", "--json", a, "--svg", svg]),
    ["one"],
  );
  assertEquals(
    await curves([...run, "--label", "two", "--json", b, "--svg", svg]),
    ["two"],
  );
  assertEquals(
    await curves(["plot", a, "--svg", svg, b, "--title", "both"]),
    ["one", "two"],
  );
  const broken = await runProgram(["--allow-ffi"], [
    ...["bench", "plot", svg, "--svg", svg],
  ]);
  assertEquals(broken.code, 2);
  assertMatch(broken.err, /o\.svg is no report of ringside bench, wanted what/);
});

Deno.test("the same seed makes the same requests", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using _disk = await serve(socket, "block", ["--blk-null", "1M"]);
  const counts = async (seed: string) => {
    const report = await benchWell(scratch, [
      ...["block", "--socket-path", socket, "--seed", seed, ...QUICK],
      ...["--requests", "1000", "--mix", "read=1,flush=1"],
    ]);
    return report.counts.read!;
  };
  const first = await counts("7");
  assert(first > 400 && first < 600);
  assertEquals(await counts("7"), first);
  const others = [await counts("8"), await counts("9"), await counts("10")];
  assert(others.some((count) => count !== first));
});
