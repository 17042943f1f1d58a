/**
 * `deno task demo`: a back-end in one process, a front-end in this one, a small
 * disk between them. No root, no virtual machine.
 *
 * @module
 */
import { FEATURE_NAMES } from "../devices/block/protocol.ts";
import { featureNames } from "../src/device/features.ts";
import { BlockConnection } from "../src/testing/block_connection.ts";
import { Prng } from "../src/testing/prng.ts";

const MIB = 1 << 20;
const DISK_SIZE = 64 * MIB;
const SPEED_MS = 1000;
const CHUNK = 4096;

/** Starts the back-end and waits until it listens. */
async function startBackEnd(
  socket: string,
  image: string,
): Promise<Deno.ChildProcess> {
  const backEnd = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--allow-ffi",
      "--allow-read",
      new URL("../main.ts", import.meta.url).pathname,
      "block",
      ...["--socket-path", socket, "--blk-file", image, "--serial", "demo"],
    ],
    stderr: "piped",
  }).spawn();
  const lines = backEnd.stderr.pipeThrough(new TextDecoderStream());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  (async () => {
    for await (const text of lines) {
      for (const line of text.trimEnd().split("\n")) {
        console.log(`   back-end | ${line}`);
      }
      if (text.includes("listens")) resolve();
    }
    reject(new Error("The back-end ended before it listened"));
  })();
  await promise;
  return backEnd;
}

/** Writes random data, flushes, reads it back by other requests, compares. */
async function compare(disk: BlockConnection): Promise<void> {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const prng = new Prng(seed);
  const data = new Uint8Array(4 * MIB);
  prng.fill(data);
  const writes: Promise<void>[] = [];
  for (let at = 0; at < data.length; at += 64 * 1024) {
    const bytes = data.subarray(at, at + 64 * 1024);
    writes.push(disk.driver.write(at / 512, bytes));
  }
  await Promise.all(writes);
  await disk.driver.flush();
  console.log(`   wrote 4 MiB in ${writes.length} requests, seed ${seed}`);
  for (let at = 0; at < data.length; at += MIB) {
    const read = await disk.driver.read(at / 512, MIB);
    for (let i = 0; i < MIB; i++) {
      if (read[i] !== data[at + i]) {
        throw new Error(`Byte ${at + i} differs: read ${read[i]}`);
      }
    }
  }
  console.log("   flushed, read it back in 4 requests: every byte is equal");
}

/** Reads at random with `depth` requests in flight; the requests a second. */
async function speed(disk: BlockConnection, depth: number): Promise<number> {
  const prng = new Prng(1);
  const chunks = DISK_SIZE / CHUNK;
  const until = performance.now() + SPEED_MS;
  let count = 0;
  const worker = async () => {
    while (performance.now() < until) {
      await disk.driver.read(prng.below(chunks) * (CHUNK / 512), CHUNK);
      count++;
    }
  };
  await Promise.all(Array.from({ length: depth }, worker));
  return count / (SPEED_MS / 1000);
}

async function drive(socket: string): Promise<void> {
  console.log("2. A front-end connects and negotiates");
  using disk = await BlockConnection.open(socket, { queueCount: 2 });
  console.log(
    `   features: ${featureNames(disk.features, FEATURE_NAMES).join(" ")}`,
  );
  console.log(`   capacity: ${disk.capacity * 512 / MIB} MiB`);
  console.log(`   serial:   ${await disk.driver.getId()}`);
  console.log("3. It writes, flushes, reads and compares");
  await compare(disk);
  console.log("4. How fast (both ends in TypeScript, a promise a request)");
  for (const depth of [1, 8, 32]) {
    const iops = Math.round(await speed(disk, depth));
    console.log(
      `   4 KiB random reads, depth ${String(depth).padStart(2)}: ` +
        `${iops.toLocaleString("en").padStart(9)} a second`,
    );
  }
  console.log(
    "   deno task bench:peers measures the back-end beside its peers",
  );
}

if (import.meta.main) {
  const directory = await Deno.makeTempDir({ prefix: "ringside-demo-" });
  const socket = `${directory}/disk.sock`;
  const image = `${directory}/disk.img`;
  await Deno.writeFile(image, new Uint8Array(0));
  await Deno.truncate(image, DISK_SIZE);
  console.log("1. A back-end serves a 64 MiB disk");
  const backEnd = await startBackEnd(socket, image);
  try {
    await drive(socket);
  } finally {
    console.log("5. SIGTERM: the back-end drains, flushes and leaves");
    backEnd.kill("SIGTERM");
    const { code } = await backEnd.status;
    console.log(`   exit code ${code}`);
    await Deno.remove(directory, { recursive: true });
    if (code !== 0) Deno.exit(1);
  }
  Deno.exit(0);
}
