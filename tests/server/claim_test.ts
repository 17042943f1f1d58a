/**
 * An image that two back-ends serve: one at a time, and none before all that
 * the other one ever asked the kernel for is over.
 */
import { assertEquals } from "@std/assert";
import { BlockConnection } from "../../src/testing/mod.ts";
import { BackEnd, ringside } from "../vm/back_end.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 30_000;
const MIB = 1 << 20;
const BLOCK = 4096;

/** A place for an image and sockets. */
class Place implements Disposable {
  readonly #directory = Deno.makeTempDirSync({ prefix: "ringside-claim-" });
  readonly file: string = `${this.#directory}/disk.img`;

  constructor() {
    using file = Deno.openSync(this.file, { write: true, createNew: true });
    for (let i = 0; i < 8; i++) file.writeSync(new Uint8Array(MIB).fill(255));
    // Writes that find nothing to wait for are done without a thread.
    file.syncSync();
  }

  serve(name: string, ...more: string[]): Promise<BackEnd> {
    const socketPath = `${this.#directory}/${name}.sock`;
    return BackEnd.start(ringside, { socketPath, file: this.file, more });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }
}

/** Resolves when the back-end says that it waits. */
function waits(backEnd: BackEnd): Promise<void> {
  return eventually(
    () => backEnd.log.includes("is in use: waiting"),
    PATIENCE_MS,
    () => `It does not wait: ${backEnd.log}`,
  );
}

Deno.test("a ring waits for the ring of another back-end on the same image", async () => {
  using place = new Place();
  await using one = await place.serve("one");
  await using other = await place.serve("other");
  using first = await BlockConnection.open(one.socketPath);
  await first.driver.write(0, new Uint8Array(BLOCK).fill(1));
  const opening = BlockConnection.open(other.socketPath);
  await waits(other);
  await first.driver.write(0, new Uint8Array(BLOCK).fill(2));
  const base = await first.frontend.getVringBase(0);
  using second = await withDeadline(opening, PATIENCE_MS);
  assertEquals((await second.driver.read(0, BLOCK))[0], 2);
  // And back again, once the second one is gone.
  const restarting = first.restart(0, base);
  await waits(one);
  await other.stop("SIGKILL");
  await withDeadline(restarting, PATIENCE_MS);
  assertEquals((await first.driver.read(0, BLOCK))[0], 2);
});

Deno.test("a back-end that waits for an image ends when it is told to", async () => {
  using place = new Place();
  await using one = await place.serve("one");
  await using other = await place.serve("other");
  using _first = await BlockConnection.open(one.socketPath);
  const opening = BlockConnection.open(other.socketPath).then(
    () => "opened",
    () => "not opened",
  );
  await waits(other);
  const { code } = await other.stop("SIGTERM");
  assertEquals(code, 0, other.log);
  assertEquals(await withDeadline(opening, PATIENCE_MS), "not opened");
});

Deno.test("who reads only, and who is to share, has no claim", async () => {
  using place = new Place();
  await using one = await place.serve("one");
  await using reading = await place.serve("reading", "--read-only");
  await using shared = await place.serve("shared", "--shared");
  for (const { socketPath } of [one, reading, shared]) {
    using connection = await BlockConnection.open(socketPath);
    await connection.driver.read(0, BLOCK);
    using twin = await BlockConnection.open(
      socketPath === one.socketPath ? shared.socketPath : one.socketPath,
    );
    await twin.driver.read(0, BLOCK);
  }
});

/** A control group whose writes to the disk below `file` are slow. */
class SlowGroup implements Disposable {
  readonly #path = `/sys/fs/cgroup/blkio/ringside-${crypto.randomUUID()}`;

  /** With so many bytes a second. Throws where that can't be had. */
  constructor(file: string, speed: number) {
    const { dev } = Deno.lstatSync(file);
    const major = dev >> 8 & 0xfff;
    Deno.mkdirSync(this.#path);
    const limit = `${major}:${dev & 0xff} ${speed}\n`;
    const name = "blkio.throttle.write_bps_device";
    Deno.writeTextFileSync(`${this.#path}/${name}`, limit);
  }

  /** Takes process `pid` in. */
  add(pid: number): void {
    Deno.writeTextFileSync(`${this.#path}/cgroup.procs`, String(pid));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#path);
  }
}

/** How many blocks of the first MiB are `value`, on the medium itself. */
function written(file: string, value: number): number {
  const args = [`if=${file}`, "bs=1M", "count=1", "iflag=direct"];
  const { stdout } = new Deno.Command("dd", { args, stderr: "null" })
    .outputSync();
  let count = 0;
  for (let at = 0; at < MIB; at += BLOCK) if (stdout[at] === value) count++;
  return count;
}

/** Bytes that process `pid` has asked the kernel to write to media. */
function asked(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/io`);
  return Number(/^write_bytes: (\d+)$/m.exec(text)![1]);
}

/** Has the first MiB written with ones, and kills who was asked to. */
async function dieWriting(backEnd: BackEnd): Promise<void> {
  const before = asked(backEnd.pid);
  using connection = await BlockConnection.open(backEnd.socketPath);
  connection.driver.write(0, new Uint8Array(MIB).fill(1)).catch(() => {});
  await eventually(
    () => asked(backEnd.pid) >= before + MIB,
    PATIENCE_MS,
    () => `It does not write: ${backEnd.log}`,
  );
  await backEnd.stop("SIGKILL");
}

Deno.test("what a killed back-end had under way is over before the next one starts", async () => {
  using place = new Place();
  const direct = ["--direct", "--io-engine", "io_uring"];
  await using one = await place.serve("one", ...direct);
  await using other = await place.serve("other", ...direct);
  using group = slowGroup(place.file, MIB);
  if (group === null) return;
  group.add(one.pid);
  await dieWriting(one);
  if (written(place.file, 1) === MIB / BLOCK) {
    console.error("SKIPPED: a disk can't be made slow here: it was written");
    return;
  }
  using connection = await withDeadline(
    BlockConnection.open(other.socketPath),
    PATIENCE_MS,
  );
  assertEquals(written(place.file, 1), MIB / BLOCK, "an old write comes later");
  await connection.driver.write(0, new Uint8Array(MIB).fill(2));
  assertEquals(written(place.file, 2), MIB / BLOCK);
});

/** Null where there is none to be had, which is said. */
function slowGroup(file: string, speed: number): SlowGroup | null {
  try {
    return new SlowGroup(file, speed);
  } catch (error) {
    console.error(`SKIPPED: a disk can't be made slow here: ${error}`);
    return null;
  }
}
