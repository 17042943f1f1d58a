/**
 * Guest memory in many pieces, shared with real back-ends: every request has
 * its parts in different regions.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { SystemError } from "../../src/errors.ts";
import { BLOCK_REQUEST, blockHeader } from "../../src/testing/block_driver.ts";
import { Connection } from "../../src/testing/connection.ts";
import type { DriverRegionSpec } from "../../src/testing/driver_memory.ts";
import { openDescriptors } from "../support/descriptors.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { BackEnd, qemuStorageDaemon, ringside } from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 30_000;
const KIB = 1024;
const SIZE = 64 * KIB;
const BLOCK_SIZE = 4096;
const HUGE = 2048 * KIB;

const canRunDaemon = requirement(
  "qemu-storage-daemon",
  () => hasProgram("qemu-storage-daemon"),
);

/** `count` regions with holes between them, backwards in one memfd. */
function inOneFile(count: number): DriverRegionSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    guestAddress: 0x10_0000 * (i + 1),
    size: SIZE,
    mmapOffset: (count - 1 - i) * SIZE,
    ...(i === 0 ? {} : { fileOf: 0 }),
  }));
}

/** `count` regions with holes between them, each at an offset of its memfd. */
function inTheirOwn(count: number): DriverRegionSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    guestAddress: 0x10_0000 * (count - i),
    size: SIZE,
    mmapOffset: i * 4096,
  }));
}

const LAYOUTS: [what: string, regions: DriverRegionSpec[]][] = [
  ["one region that begins at 0", [{ guestAddress: 0, size: SIZE }]],
  ["8 regions of their own", inTheirOwn(8)],
  ["8 regions of one memfd", inOneFile(8)],
  ["20 regions of one memfd, by ADD_MEM_REG", inOneFile(20)],
  ["20 regions of their own, by ADD_MEM_REG", inTheirOwn(20)],
  ["huge pages, where there are any", [
    { guestAddress: 0, size: HUGE, hugePages: "preferred" },
    { guestAddress: 16 * HUGE, size: SIZE },
  ]],
];

for (const kind of [ringside, qemuStorageDaemon]) {
  for (const [what, regions] of LAYOUTS) {
    Deno.test({
      name: `${kind.name} is shared ${what}`,
      ignore: kind === qemuStorageDaemon && !canRunDaemon,
      async fn() {
        const directory = Deno.makeTempDirSync({ prefix: "ringside-memory-" });
        const file = `${directory}/disk.img`;
        const socketPath = `${directory}/disk.sock`;
        Deno.writeFileSync(file, new Uint8Array(64 * BLOCK_SIZE));
        try {
          await using _backEnd = await BackEnd.start(kind, {
            socketPath,
            file,
            dataPlane: "inline",
          });
          using guest = await Connection.open(socketPath, {
            queueSize: 16,
            memory: regions,
            timeoutMs: PATIENCE_MS,
          });
          await withDeadline(writeEverywhere(guest), PATIENCE_MS);
          const disk = Deno.readFileSync(file);
          for (const index of regions.keys()) {
            const start = index * BLOCK_SIZE;
            assertEquals(
              disk.subarray(start, start + BLOCK_SIZE),
              new Uint8Array(BLOCK_SIZE).fill(index + 1),
            );
          }
        } finally {
          Deno.removeSync(directory, { recursive: true });
        }
      },
    });
  }
}

/** Writes a block from each region, with header and status in its neighbours. */
async function writeEverywhere(guest: Connection): Promise<void> {
  const { memory } = guest;
  const port = guest.rings[0]!;
  const { ring } = port;
  const count = memory.regions.length;
  for (let index = 0; index < count; index++) {
    const bytes = blockHeader(BLOCK_REQUEST.OUT, index * BLOCK_SIZE / 512);
    const header = memory.allocate(16, 16, (index + 1) % count);
    const data = memory.allocate(BLOCK_SIZE, 512, index);
    const status = memory.allocate(1, 1, (index + 2) % count);
    memory.write(header, bytes);
    memory.write(data, new Uint8Array(BLOCK_SIZE).fill(index + 1));
    memory.write(status, Uint8Array.of(0xff));
    ring.add([
      { address: header, size: bytes.length, writable: false },
      { address: data, size: BLOCK_SIZE, writable: false },
      { address: status, size: 1, writable: true },
    ]);
    ring.publish();
    port.kick();
    while (ring.nextUsed() === null) {
      if (!ring.armInterrupt()) await port.called();
    }
    assertEquals(memory.read(status, 1), Uint8Array.of(0));
  }
}

Deno.test("more huge pages than there are is an error that leaks nothing", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-memory-" });
  const file = `${directory}/disk.img`;
  const socketPath = `${directory}/disk.sock`;
  Deno.writeFileSync(file, new Uint8Array(BLOCK_SIZE));
  try {
    await using _backEnd = await BackEnd.start(ringside, {
      socketPath,
      file,
      dataPlane: "inline",
    });
    const before = openDescriptors();
    await assertRejects(
      () =>
        Connection.open(socketPath, {
          memory: [{ guestAddress: 0, size: 2 ** 46, hugePages: true }],
        }),
      SystemError,
      "nr_hugepages",
    );
    assertEquals(openDescriptors(), before);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
