import {
  assertEquals,
  assertLessOrEqual,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import type { DeviceDescriptor } from "../device/device.ts";
import type { OptionSpecs } from "../device/options.ts";
import { SystemError, UsageError } from "../errors.ts";
import { type Environment, run } from "./run.ts";

const OPTIONS = {
  "image": { type: "string", describe: "The image", placeholder: "PATH" },
  "read-only": { type: "boolean", describe: "Refuse writes" },
  "depth": { type: "number", describe: "How deep", default: 4, max: 8 },
  "mode": { type: "choice", describe: "How", choices: ["fast", "slow"] },
  "room": { type: "size", describe: "How much", required: true },
} as const satisfies OptionSpecs;

const disk: DeviceDescriptor = {
  name: "disk",
  type: "block",
  virtioId: 2,
  summary: "A disk for tests",
  options: OPTIONS,
  capabilities: ["image"],
  open: () => Promise.reject(new Error("not opened here")),
};
const tape: DeviceDescriptor = { ...disk, name: "tape", options: {} };

/** What can be read. */
const FILES: Record<string, string> = {
  "good.json": `{
    "log-level": "debug",
    "devices": [
      { "device": "tape", "socket-path": "t" },
      { "device": "disk", "name": "d", "fd": 3, "room": "4K" },
    ],
  }`,
  "bad.json": '{ "devices": [{ "device": "dsik" }] }',
};

function missing(path: string): never {
  throw new SystemError("open", 2, { code: "ENOENT", path });
}

interface Outcome {
  code: number;
  out: string;
  err: string;
  served: unknown[];
}

/** Runs the program in a house of two devices whose serving ends in `failure`. */
async function outcome(
  line: string | string[],
  failure?: Error,
): Promise<Outcome> {
  const args = typeof line === "string"
    ? line.split(" ").filter((arg) => arg !== "")
    : line;
  const result: Outcome = { code: 0, out: "", err: "", served: [] };
  const environment: Environment = {
    print: (text) => void (result.out += `${text}\n`),
    complain: (text) => void (result.err += `${text}\n`),
    load: () =>
      Promise.resolve({
        devices: { disk, tape },
        readText: async (path) => FILES[path] ?? await missing(path),
        serve(devices, logLevel) {
          for (const { name, origin, descriptor, ...rest } of devices) {
            const device = descriptor.name;
            result.served.push({ name, origin, device, ...rest, logLevel });
          }
          if (failure !== undefined) return Promise.reject(failure);
          return Promise.resolve();
        },
      }),
  };
  result.code = await run(args, environment);
  return result;
}

async function usageError(line: string | string[]): Promise<string> {
  const { code, out, err, served } = await outcome(line);
  assertEquals(code, 2, err);
  assertEquals(out, "");
  assertEquals(served, []);
  assertMatch(err, /^ringside: [^\n]+\n$/, "one line");
  assertMatch(err, /^ringside: (?:[A-Z]|--|")/);
  assertMatch(err, /[^.]\n$/);
  return err;
}

Deno.test("a device is served with all its options typed", async () => {
  const { code, err, served } = await outcome(
    "disk --socket-path s --room 4K --image=-x --read-only --mode slow",
  );
  assertEquals(err, "");
  assertEquals(code, 0);
  assertEquals(served, [{
    name: "disk",
    origin: "",
    device: "disk",
    options: {
      "image": "-x",
      "read-only": true,
      "depth": 4,
      "mode": "slow",
      "room": 4096,
    },
    logLevel: "info",
    server: {
      "socket-path": "s",
      "fd": undefined,
      "data-plane": "auto",
      "queue-threads": 1,
      "iommu": false,
      "packed": "on",
      "in-order": false,
      "in-band": false,
      "control-path": undefined,
      "connect": false,
      "log-level": "info",
      "print-capabilities": false,
      "version": false,
      "help": false,
    },
  }]);
});

Deno.test("the common options are typed too", async () => {
  const { served } = await outcome(
    "tape --fd 3 --queue-threads 2 --data-plane=worker --log-level debug",
  );
  assertEquals(served, [{
    name: "tape",
    origin: "",
    device: "tape",
    options: {},
    logLevel: "debug",
    server: {
      "socket-path": undefined,
      "fd": 3,
      "data-plane": "worker",
      "queue-threads": 2,
      "iommu": false,
      "packed": "on",
      "in-order": false,
      "in-band": false,
      "control-path": undefined,
      "connect": false,
      "log-level": "debug",
      "print-capabilities": false,
      "version": false,
      "help": false,
    },
  }]);
});

Deno.test("the version is printed without a device", async () => {
  const { default: manifest } = await import("../../deno.json", {
    with: { type: "json" },
  });
  for (const line of ["--version", "disk --version"]) {
    const { code, out } = await outcome(line);
    assertEquals([code, out], [0, `ringside ${manifest.version}\n`]);
  }
});

Deno.test("the version needs no permission", async () => {
  const code = await run(["--version"], {
    print: () => {},
    complain: () => {},
    load: () => Promise.reject(new Error("loaded")),
  });
  assertEquals(code, 0);
});

Deno.test("the help names devices, options, defaults and exit codes", async () => {
  for (const line of ["--help", "-h"]) {
    const { code, out } = await outcome(line);
    assertEquals(code, 0);
    assertStringIncludes(out, "disk  A disk for tests");
    assertMatch(out, /Exit codes:\n +0 .*\n +1 .*\n +2 /);
  }
});

Deno.test("the help of a device follows from its options", async () => {
  for (const line of ["disk --help", "disk -h", "disk --read-only --help"]) {
    const { code, out } = await outcome(line);
    assertEquals(code, 0);
    assertMatch(out, /^Usage: ringside disk .*--room TEXT/);
    assertMatch(out, /--image PATH +The image\n/);
    assertMatch(out, /--read-only +Refuse writes\n/);
    assertMatch(out, /--depth TEXT +How deep \(0 to 8; default 4\)\n/);
    assertMatch(out, /--mode WORD +How \(fast, slow\)\n/);
    assertMatch(out, /--room TEXT +How much \(required\)\n/);
    assertMatch(out, /--socket-path PATH +Listen/);
    assertMatch(out, /Exit codes:\n +0 .*\n +1 .*\n +2 /);
    for (const row of out.split("\n")) assertLessOrEqual(row.length, 80, row);
  }
});

Deno.test("several devices are served as a file says", async () => {
  const { code, err, served } = await outcome("serve --config good.json");
  assertEquals([code, err], [0, ""]);
  const server = {
    "data-plane": "auto",
    "queue-threads": 1,
    "iommu": false,
    "packed": "on",
    "in-order": false,
    "in-band": false,
    "connect": false,
  };
  assertEquals(served, [
    {
      name: "tape0",
      origin: "good.json:4: tape0: ",
      device: "tape",
      options: {},
      server: { "socket-path": "t", "fd": undefined, ...server },
      logLevel: "debug",
    },
    {
      name: "d",
      origin: "good.json:5: d: ",
      device: "disk",
      options: {
        "image": undefined,
        "read-only": false,
        "depth": 4,
        "mode": undefined,
        "room": 4096,
      },
      server: { "socket-path": undefined, "fd": 3, ...server },
      logLevel: "debug",
    },
  ]);
});

Deno.test("serving several has a help, and needs a file that is right", async () => {
  for (const line of ["serve --help", "serve -h", "serve --config x --help"]) {
    const { code, out } = await outcome(line);
    assertEquals(code, 0);
    assertMatch(out, /^Usage: ringside serve --config FILE\n/);
    for (const row of out.split("\n")) assertLessOrEqual(row.length, 80, row);
  }
  assertStringIncludes(await usageError("serve"), "--config is missing");
  assertStringIncludes(await usageError("serv"), "nearest is serve");
  assertStringIncludes(
    await usageError("serve --confg x"),
    "of ringside serve: the nearest is --config",
  );
  const absent = await outcome("serve --config absent.json");
  assertEquals(
    [absent.code, absent.err],
    [1, "ringside: open failed with ENOENT on absent.json\n"],
  );
  const { code, err } = await outcome("serve --config bad.json");
  assertEquals(code, 2);
  assertMatch(err, /^ringside: bad\.json:1: There is no device "dsik"/);
});

Deno.test("capabilities are JSON, whatever else is missing", async () => {
  const { code, out } = await outcome("disk --print-capabilities");
  assertEquals(code, 0);
  assertEquals(JSON.parse(out), { type: "block", features: ["image"] });
});

Deno.test("what is unknown names the nearest thing that is known", async () => {
  assertStringIncludes(await usageError("dsik --fd 3"), "nearest is disk");
  assertStringIncludes(await usageError("constructor"), "no device");
  assertStringIncludes(
    await usageError("disk --scoket-path s"),
    "no option --scoket-path of ringside disk: the nearest is --socket-path",
  );
  assertStringIncludes(
    await usageError("disk --imgae=x"),
    "no option --imgae of ringside disk: the nearest is --image",
  );
  assertStringIncludes(await usageError("--hlep"), "nearest is --help");
  assertStringIncludes(
    await usageError("disk -x"),
    "no option -x of ringside disk: ringside disk --help lists all",
  );
  assertStringIncludes(
    await usageError("printer --fd 3"),
    'no device "printer": ringside --help lists all',
  );
  assertStringIncludes(
    await usageError("disk --colour red"),
    "no option --colour of ringside disk: ringside disk --help",
  );
});

Deno.test("habits from other programs are understood", async () => {
  const cases: [string, string][] = [
    ["-V", "no option -V of ringside: the nearest is --version"],
    ["-help", "no option -help of ringside: the nearest is --help"],
    ["disk -V", "the nearest is --version"],
    ["disk -image=x", "no option -image of ringside disk: the nearest is --im"],
    ["disk -image x", "the nearest is --image"],
    ["disk -read-only -image x", "no option -read-only"],
    ["serve -config x", "the nearest is --config"],
    ["help", 'no device "help": the nearest is --help'],
    ["version", "the nearest is --version"],
    ["--print-capabilities", "as ringside DEVICE --print-capabilities"],
    ["--read-only disk", "give it behind one, as ringside DEVICE --read-only"],
    ["-image x disk", "as ringside DEVICE --image"],
    ["--config x", "as ringside serve --config"],
    ["--constructor", "no option --constructor of ringside: ringside --help"],
    ["disk --constructor -1", "no option -1"],
  ];
  for (const [line, message] of cases) {
    assertStringIncludes(await usageError(line), message, line);
  }
});

Deno.test("a number below 0 is a value, and refused as one", async () => {
  assertStringIncludes(
    await usageError("disk --fd 3 --room -1"),
    '--room is "-1": give it a number of bytes',
  );
  assertStringIncludes(
    await usageError("disk --fd -1 --room 1"),
    '--fd is "-1": give it a whole number',
  );
  assertStringIncludes(await usageError("disk --read-only -1"), "option -1");
  for (const value of ["-1", "-x"]) {
    assertStringIncludes(
      await usageError(`disk --image ${value}`),
      "--image=-…",
    );
  }
});

Deno.test("the device comes first", async () => {
  assertStringIncludes(await usageError(""), "give one of disk, tape");
  assertStringIncludes(await usageError("disk spare"), '"spare" belongs to');
  assertStringIncludes(await usageError("disk -- spare"), '"spare"');
});

Deno.test("values are checked", async () => {
  const disk = (rest: string) => usageError(`disk --fd 3 --room 1 ${rest}`);
  assertStringIncludes(await disk("--depth"), "--depth has no value");
  assertStringIncludes(await disk("--image --read-only"), "--image=-…");
  assertStringIncludes(await disk("--image="), "--image has no value");
  assertStringIncludes(await disk("--depth 9"), "--depth is 9: give it 0 to 8");
  assertStringIncludes(await disk("--depth x"), "a whole number");
  assertStringIncludes(await disk("--mode slwo"), "fast, slow");
  assertStringIncludes(await disk("--read-only=no"), "takes no value");
  assertStringIncludes(await disk("--read-only yes"), '"yes" belongs to no');
  assertStringIncludes(await usageError("--help=x"), "takes no value");
});

Deno.test("an option is given once", async () => {
  const found = await usageError("disk --fd 3 --fd=4 --room 1");
  assertStringIncludes(found, "--fd is given 2 times");
  assertStringIncludes(
    await usageError("disk --read-only --read-only"),
    "--read-only is given 2 times",
  );
});

Deno.test("a required option is required", async () => {
  assertStringIncludes(await usageError("disk --fd 3"), "--room is missing");
});

Deno.test("there is exactly one socket", async () => {
  assertStringIncludes(await usageError("tape"), "There is no socket");
  const both = await usageError("tape --fd 3 --socket-path s");
  assertStringIncludes(both, "leave one of them out");
});

Deno.test("a descriptor is not connected to anything", async () => {
  assertStringIncludes(
    await usageError("tape --connect --fd 3"),
    "There are --connect and --fd: give --socket-path instead",
  );
  const { code } = await outcome("tape --connect --socket-path s");
  assertEquals(code, 0);
});

Deno.test("a socket path fits into sun_path, in bytes", async () => {
  const long = await usageError(`tape --socket-path ${"x".repeat(108)}`);
  assertStringIncludes(long, "108 bytes, wanted 107 at most: use a shorter");
  const wide = await usageError(`tape --socket-path ${"ö".repeat(54)}`);
  assertStringIncludes(wide, "108 bytes");
  const { code } = await outcome(`tape --socket-path ${"x".repeat(107)}`);
  assertEquals(code, 0);
});

Deno.test("one thread has no room for several", async () => {
  const line = "tape --fd 3 --queue-threads 2 --data-plane inline";
  assertStringIncludes(await usageError(line), "which has one thread");
});

Deno.test("what the operator can mend is one line without a stack", async () => {
  const cases: [Error, number, string][] = [
    [
      new SystemError("openat", 2, { code: "ENOENT", path: "/x" }),
      1,
      "ringside: openat failed with ENOENT on /x\n",
    ],
    [new UsageError("It is a directory"), 2, "ringside: It is a directory\n"],
    [new UsageError("Two\nlines\x1b"), 2, "ringside: Two\\nlines\\x1b\n"],
    [
      new Deno.errors.NotCapable("Requires ffi access"),
      1,
      "ringside: A permission is missing: Requires ffi access\n",
    ],
  ];
  for (const [failure, code, err] of cases) {
    const found = await outcome("tape --fd 3", failure);
    assertEquals([found.code, found.err], [code, err]);
  }
});

Deno.test("a defect of ours shows where it is", async () => {
  const { code, err } = await outcome("tape --fd 3", new Error("Defect"));
  assertEquals(code, 1);
  assertMatch(err, /^ringside: Error: Defect\n +at /);
});

Deno.test("an output that can't be written is one line", async () => {
  const full = (): never => {
    throw new Error("No space left on device (os error 28)");
  };
  const lines: string[] = [];
  const environment: Environment = {
    print: full,
    complain: (line) => void lines.push(line),
    load: () => Promise.reject(new Error("loaded")),
  };
  assertEquals(await run(["--version"], environment), 1);
  assertEquals(lines, [
    "ringside: Standard output can't be written: No space left on device " +
    "(os error 28); make room, or send it elsewhere",
  ]);
  environment.complain = full;
  assertEquals(await run(["--version"], environment), 1);
});
