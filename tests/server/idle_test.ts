/**
 * Devices that nobody uses take no processor time.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Reactor } from "../../src/io/reactor.ts";
import { Connection } from "../../src/testing/connection.ts";
import { type DeviceEntry, Several } from "./support/several.ts";

/** Four of each kind. */
const EACH = 4;
/**
 * Less often than this nobody looks at anything. What a start leaves to be done
 * (compilers, collectors) is over after a few such times.
 */
const QUIET_MS = 1_500;
const TRIES = 8;

function entries(several: (name: string) => string): DeviceEntry[] {
  return Array.from({ length: EACH }, (_, i): DeviceEntry[] => [
    { device: "block", name: `disk${i}`, "blk-file": several(`disk${i}`) },
    { device: "block", name: `null${i}`, "blk-null": "1G" },
    { device: "net", name: `net${i}`, backend: "loopback" },
    { device: "rng", name: `rng${i}` },
  ]).flat();
}

/** How often each thread of `pid` went to sleep, by number and name. */
function sleeps(pid: number): Map<string, number> {
  const directory = `/proc/${pid}/task`;
  const counts = new Map<string, number>();
  for (const { name } of Deno.readDirSync(directory)) {
    let status: string;
    try {
      status = Deno.readTextFileSync(`${directory}/${name}/status`);
    } catch {
      continue; // It has ended since it was listed.
    }
    const thread = /^Name:\s*(.*)$/m.exec(status)![1];
    const count = /^voluntary_ctxt_switches:\s*([0-9]+)$/m.exec(status)![1];
    counts.set(`${thread} ${name}`, Number(count));
  }
  return counts;
}

/** The threads that slept and woke between two looks. */
function awake(
  before: Map<string, number>,
  after: Map<string, number>,
): string[] {
  return [...after].filter(([thread, count]) => before.get(thread) !== count)
    .map(([thread, count]) => `${thread}: ${count}`);
}

/** The threads of `pid` that do not sleep, though they have the time. */
async function restless(pid: number): Promise<string[]> {
  let heard: string[] = [];
  for (let i = 0; i < TRIES; i++) {
    const before = sleeps(pid);
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    heard = awake(before, sleeps(pid));
    if (heard.length === 0) break;
  }
  return heard;
}

for (const plane of ["inline", "worker"]) {
  Deno.test(`${4 * EACH} idle devices of one process wake up nobody (${plane})`, async () => {
    const images = Deno.makeTempDirSync({ prefix: "ringside-idle-" });
    try {
      const devices = entries((name) => {
        const path = `${images}/${name}.img`;
        Deno.writeFileSync(path, new Uint8Array(1 << 20));
        return path;
      });
      using several = new Several(devices, plane);
      await using backEnd = await several.start();
      // One of each kind waits for a front-end, the others for requests.
      using stack = new DisposableStack();
      for (const { name } of devices.slice(EACH)) {
        const path = several.socketPath(name);
        stack.use(await Connection.open(path, { memory: 1 << 20 }));
      }
      assertEquals(await restless(backEnd.pid), []);
    } finally {
      Deno.removeSync(images, { recursive: true });
      await Reactor.main.idle();
    }
  });
}
