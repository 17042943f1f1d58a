/**
 * The control socket: what `ringside ctl` and any other client get of it.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EventFd } from "../../src/io/event_fd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";
import { Running, runProgram, Scratch } from "./program.ts";

const MIB = 1 << 20;
const FFI = ["--allow-ffi"];
const DEADLINE_MS = 20_000;

/** A server of two devices, of which the disk has a MiB. */
class Served implements AsyncDisposable {
  readonly control: string;
  readonly socket: string;
  readonly #scratch: Scratch;
  readonly #running: Running;

  private constructor(scratch: Scratch, running: Running) {
    this.#scratch = scratch;
    this.#running = running;
    this.control = scratch.file("control.sock");
    this.socket = scratch.file("disk.sock");
  }

  static async start(): Promise<Served> {
    const scratch = new Scratch();
    const image = await scratch.image(MIB);
    const config = scratch.file("ringside.json");
    Deno.writeTextFileSync(
      config,
      JSON.stringify({
        "control-path": scratch.file("control.sock"),
        devices: [
          {
            device: "block",
            name: "disk",
            "socket-path": scratch.file("disk.sock"),
            "blk-file": image,
          },
          {
            device: "rng",
            name: "dice",
            "socket-path": scratch.file("rng.sock"),
          },
        ],
      }),
    );
    const args = ["serve", "--config", config];
    const running = new Running(FFI, args);
    await running.says("ringside ctl reaches");
    return new Served(scratch, running);
  }

  /** `ringside ctl` with `args`. */
  ctl(...args: string[]) {
    return runProgram(FFI, ["ctl", ...args, "--control-path", this.control]);
  }

  async end(): Promise<void> {
    const { code } = await this.#running.end("SIGTERM");
    assertEquals(code, 0);
    assert(!exists(this.control), "the socket is removed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
    await this.#scratch[Symbol.asyncDispose]();
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A client that says what it likes. */
class RawClient implements Disposable {
  readonly #connection: Deno.UnixConn;
  #text = "";

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  /** Connects, once the server has room for one more that waits. */
  static async open(path: string): Promise<RawClient> {
    let client: RawClient | null = null;
    await eventually(
      async () => {
        const connected = Deno.connect({ transport: "unix", path });
        client = await connected.then(
          (connection) => new RawClient(connection),
          () => null,
        );
        return client !== null;
      },
      DEADLINE_MS,
      () => "The server accepts nobody",
    );
    return client!;
  }

  async send(bytes: Uint8Array | string): Promise<void> {
    let rest = typeof bytes === "string"
      ? new TextEncoder().encode(bytes)
      : bytes;
    while (rest.length > 0) {
      rest = rest.subarray(await this.#connection.write(rest));
    }
  }

  /** The next answer, or null where the server hung up. */
  async answer(): Promise<{ ok: boolean; error?: string } | null> {
    while (!this.#text.includes("\n")) {
      const piece = new Uint8Array(65536);
      const size = await withDeadline(
        this.#connection.read(piece).catch(() => null),
        DEADLINE_MS,
      );
      if (size === null) return null;
      this.#text += new TextDecoder().decode(piece.subarray(0, size));
    }
    const [line] = this.#text.split("\n");
    this.#text = this.#text.slice(line!.length + 1);
    return JSON.parse(line!);
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

Deno.test("ctl tells what is served, to whom, and what the rings have done", async () => {
  await using served = await Served.start();
  const idle = await served.ctl("status");
  assertEquals(idle.code, 0, idle.err);
  assertEquals(
    idle.out,
    "disk (block): no front-end\ndice (rng): no front-end\n",
  );
  using disk = await BlockConnection.open(served.socket, { queueCount: 2 });
  await disk.driver.write(0, new Uint8Array(512));
  const { out } = await served.ctl("status", "--json");
  const { devices } = JSON.parse(out);
  assertEquals(devices.map((each: { name: string }) => each.name), [
    "disk",
    "dice",
  ]);
  const [{ connected, canResize, features, rings }, dice] = devices;
  assertEquals([connected, canResize, dice.canResize], [true, true, false]);
  assert(features.includes("VERSION_1"), String(features));
  assert(features.includes("FLUSH"), String(features));
  assertEquals(rings.length, 2);
  const { calls, ...first } = rings[0];
  assertEquals(first, {
    index: 0,
    size: 128,
    started: true,
    enabled: true,
    inFlight: 0,
    malformed: 0,
    broken: "",
  });
  // One when the ring started, one for the request.
  assertEquals([calls, rings[1].calls], [2, 1]);
  const text = (await served.ctl("status")).out;
  assertStringIncludes(text, "  ring 0 of 128 runs, 0 in flight, 2 calls, 0");
  await served.end();
});

Deno.test("ctl resizes a disk in use, and shrinks it only where that is said", async () => {
  await using served = await Served.start();
  using disk = await BlockConnection.open(served.socket);
  const changed = Promise.withResolvers<void>();
  await disk.frontend.listenToBackend({
    configChanged: () => changed.resolve(),
  });
  const grown = await served.ctl("resize", "disk", "4M");
  assertEquals([grown.code, grown.out], [0, `disk has ${4 * MIB} bytes\n`]);
  await withDeadline(changed.promise, DEADLINE_MS);
  const bytes = new Uint8Array(512).fill(9);
  await disk.driver.write(4 * MIB / 512 - 1, bytes);
  assertEquals(await disk.driver.read(4 * MIB / 512 - 1, 512), bytes);
  const refused = await served.ctl("resize", "disk", "1M");
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.err, "would lose what is behind 1048576");
  const shrunk = await served.ctl("--shrink", "resize", "disk", "1M", "--json");
  assertEquals(JSON.parse(shrunk.out), { size: MIB }, shrunk.err);
});

Deno.test("what ctl is not told right is one line that says what to do", async () => {
  await using served = await Served.start();
  const cases: [string[], number, string][] = [
    [[], 2, "There is no command: give one of status, resize"],
    [["statsu"], 2, 'There is no command "statsu": the nearest is status'],
    [["status", "disk"], 2, '"disk" belongs to nothing'],
    [["resize"], 2, "resize names no device"],
    [["resize", "disk", "lots"], 2, "The size"],
    [["resize", "disk", "1M", "2M"], 2, '"2M" belongs to nothing'],
    [["resize", "tape", "1M"], 1, 'no device "tape": there are disk, dice'],
    [["resize", "dice", "1M"], 1, "dice has no size to change"],
    [["resize", "disk", "1000"], 1, "multiple of its block size 512"],
    [["status", "--jsno"], 2, "There is no option --jsno"],
  ];
  await Promise.all(cases.map(async ([args, code, words]) => {
    const outcome = await served.ctl(...args);
    assertEquals(outcome.code, code, outcome.err);
    assertEquals(outcome.err.trim().split("\n").length, 1, outcome.err);
    assertStringIncludes(outcome.err, words);
  }));
  const nobody = `${served.control}.not`;
  const { code, err } = await runProgram(FFI, [
    ...["ctl", "status", "--control-path", nobody],
  ]);
  assertEquals(code, 1);
  assertStringIncludes(err, "start the server that listens there first");
});

Deno.test("a server that does not answer is given up", async () => {
  await using scratch = new Scratch();
  const path = scratch.file("s");
  // It listens, and never accepts.
  using _listener = Deno.listen({ transport: "unix", path });
  const { code, out, err } = await runProgram(FFI, [
    ...["ctl", "status", "--control-path", path, "--timeout", "1"],
  ]);
  assertEquals(
    [code, out, err],
    [
      1,
      "",
      "ringside: The server did not answer within 1 s: it hangs, or has much " +
      "to do; --timeout SECONDS waits longer\n",
    ],
  );
});

Deno.test("only the user of the server may connect, whatever the umask", async () => {
  const before = Deno.umask(0);
  try {
    await using served = await Served.start();
    assertEquals(Deno.lstatSync(served.control).mode! & 0o777, 0o600);
  } finally {
    Deno.umask(before);
  }
});

Deno.test("hostile clients of the control socket harm nobody", async () => {
  await using served = await Served.start();
  const nonsense = [
    "\n",
    "{}\n",
    "[]\n",
    "null\n",
    "1e999\n",
    '{"command":"stop"}\n',
    '{"command":"__proto__"}\n',
    '{"command":"toString"}\n',
    '{"command":["status"]}\n',
    '{"command":"status","more":1}\n',
    '{"command":"resize"}\n',
    '{"command":"resize","device":"disk","size":"1M"}\n',
    '{"command":"resize","device":"disk","size":-1}\n',
    '{"command":"resize","device":"disk","size":1e300}\n',
    '{"command":"resize","device":"disk","size":0.5}\n',
    '{"command":"resize","device":"disk","size":null}\n',
    '{"command":"resize","device":"disk","shrink":1}\n',
    '{"command":"resize","device":"__proto__","size":512}\n',
    `${"[".repeat(4000)}\n`,
  ];
  using client = await RawClient.open(served.control);
  for (const line of nonsense) {
    await client.send(line);
    const answer = await client.answer();
    assertEquals(answer?.ok, false, line.slice(0, 80));
  }
  // Pieces of a line, two lines at once, an end without a line.
  for (const piece of ['{"comm', 'and":"sta', 'tus"}\n{"command":']) {
    await client.send(piece);
  }
  assertEquals((await client.answer())?.ok, true);
  await client.send('"status"}\n');
  assertEquals((await client.answer())?.ok, true);
  for (const bytes of [new Uint8Array([0xff, 0xfe, 10]), "x".repeat(5000)]) {
    using raw = await RawClient.open(served.control);
    await raw.send(bytes);
    assertEquals((await raw.answer())?.ok, false);
    assertEquals(await raw.answer(), null, "hung up on");
  }
  assertEquals((await served.ctl("status")).code, 0);
});

Deno.test("clients without end, and descriptors nobody asked for", async () => {
  await using served = await Served.start();
  const clients: RawClient[] = [];
  for (let i = 0; i < 40; i++) {
    clients.push(await RawClient.open(served.control));
  }
  // Those beyond the limit are hung up on, the others are served.
  await Promise.all(
    clients.map((each) => each.send('{"command":"status"}\n').catch(() => {})),
  );
  const answers = await Promise.all(clients.map((each) => each.answer()));
  assertEquals(answers.filter((answer) => answer?.ok).length, 16);
  for (const each of clients) each[Symbol.dispose]();
  using eventFd = EventFd.open();
  const fds = new Array(200).fill(eventFd.fd);
  await eventually(
    async () => {
      using socket = UnixSocket.connect(served.control);
      try {
        socket.send(new TextEncoder().encode("\n"), fds);
      } catch {
        return false; // The clients before are not all gone yet.
      }
      return (await served.ctl("status")).code === 0;
    },
    DEADLINE_MS,
    () => "The server takes no client",
  );
  await served.end();
});
