/**
 * One guest, one disk: what a Linux driver sees of it and does with it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { BackEnd } from "./back_end.ts";
import { showFiles, showFilesOnHost } from "./disk_files.ts";
import { Guest } from "./guest.ts";
import { describeRings, showRings } from "./ring_kind.ts";
import {
  allocatedBytes,
  describeVariant,
  diskName,
  hashFile,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

const MEBIBYTE = 1 << 20;
const SERIAL = "ringside-0123456789a";
/** Small, because the guest hashes it. */
const SIZE = 64 * MEBIBYTE;

/** How one of the guest's disks is served. */
export interface DiskPlan {
  /** By which engine, on which plane. */
  variant: Variant;
  /** Whether it has packed rings. */
  packed: boolean;
  /** How long fio runs on it, in seconds. */
  fioSeconds: number;
}

/** What the steps of the scenario work on. */
interface Scene {
  setup: Setup;
  stage: Stage;
  plan: DiskPlan;
  image: string;
  backEnd: BackEnd;
  guest: Guest;
  /** What the guest calls it, and its file. */
  disk: string;
  path: string;
  /** What the guest wrote down of its files, in the end. */
  manifest: string;
}

/** Hashes the guest's disk from its medium, past the guest's page cache. */
async function guestHash(guest: Guest, disk: string): Promise<string> {
  const line = await guest.output(
    `blockdev --flushbufs ${disk} && sha256sum ${disk}`,
    { timeoutMs: 120_000 },
  );
  return line.split(" ")[0]!;
}

async function showIdentity(step: Step, { setup, guest, disk, path }: Scene) {
  await step("capacity", async () => {
    const size = await guest.output(`blockdev --getsize64 ${path}`);
    assertEquals(Number(size), SIZE);
    return `${size} bytes`;
  });
  if (setup.kind.hasSerial) {
    await step("serial", async () => {
      const serial = await guest.output(`cat /sys/block/${disk}/serial`);
      assertEquals(serial, SERIAL);
      return serial;
    });
  }
  await step("logical block size", async () => {
    const size = await guest.output(`blockdev --getss ${path}`);
    assertEquals(size, "512");
    return `${size} bytes`;
  });
}

async function showVariant(step: Step, scene: Scene) {
  const { ioEngine, dataPlane } = scene.plan.variant;
  if (ioEngine === undefined) return;
  await step("the engine and the plane are those asked for", async () => {
    // Asked of the process, not of what it says: a fallback is silent here.
    await scene.guest.output(`dd if=${scene.path} of=/dev/null bs=1M count=1`);
    const { descriptors } = scene.backEnd.holdings();
    const rings = descriptors["anon_inode:[io_uring]"] ?? 0;
    const workers = scene.backEnd.threads().filter((name) =>
      name.startsWith("worker-")
    );
    assertEquals(rings > 0, ioEngine === "io_uring", `${rings} io_urings`);
    assertEquals(workers.length > 0, dataPlane === "worker", workers.join());
    return `${rings} io_urings, ${workers.length} workers`;
  });
}

async function showQueues(step: Step, { guest, disk, path }: Scene) {
  await step("4 queues on 2 vCPUs", async () => {
    assertEquals(await guest.output("nproc"), "2");
    const queues = await guest.output(`ls /sys/block/${disk}/mq | wc -l`);
    assertEquals(queues, "4");
    return `${queues} queues`;
  });
  await step("each vCPU's queue carries its requests", async () => {
    // Interrupts of the queues, summed over the vCPUs.
    const counts = async () =>
      (await guest.output(
        `name=$(basename "$(readlink -f /sys/block/${disk}/device)")
        grep "$name-req" /proc/interrupts | awk '{ print $NF, $2 + $3 }'`,
      )).split("\n").map((line) => Number(line.split(" ")[1]));
    const seen: string[] = [];
    for (const processor of [0, 1]) {
      const before = await counts();
      await guest.output(
        `taskset -c ${processor} dd if=${path} of=/dev/null bs=4k ` +
          "count=64 iflag=direct",
      );
      const after = await counts();
      const grown = after.findIndex((count, queue) =>
        count - before[queue]! >= 60
      );
      assert(grown >= 0, `No queue of ${before} grew: ${after}`);
      seen.push(`vCPU ${processor} uses queue ${grown}`);
    }
    assert(seen[0]!.at(-1) !== seen[1]!.at(-1), seen.join(", "));
    return seen.join(", ");
  });
}

async function showDirect(step: Step, { guest, image, path }: Scene) {
  for (const size of [512, 4096, MEBIBYTE, 4 * MEBIBYTE]) {
    await step(`O_DIRECT writes and reads of ${size} bytes`, async () => {
      const count = Math.min(256, 8 * MEBIBYTE / size);
      const offset = SIZE - 8 * MEBIBYTE;
      const hash = (await guest.output(`
        set -e
        dd if=/dev/urandom of=/tmp/data bs=${size} count=${count}
        dd if=/tmp/data of=${path} bs=${size} count=${count} \\
          seek=${offset / size} oflag=direct conv=notrunc,fsync
        dd if=${path} of=/tmp/back bs=${size} count=${count} \\
          skip=${offset / size} iflag=direct
        cmp /tmp/data /tmp/back
        sha256sum </tmp/data
        rm /tmp/data /tmp/back
      `)).split(" ")[0];
      assertEquals(await hashFile(image, offset, size * count), hash);
      return `${count} of them, the same on the host`;
    });
  }
}

async function showWriteCache(step: Step, { guest, image, disk, path }: Scene) {
  await step("the write cache is switched off and on", async () => {
    const cache = `/sys/block/${disk}/cache_type`;
    const seen: string[] = [];
    for (const type of ["write through", "write back"]) {
      // The driver writes the field of the config space and reads it back.
      const hash = await guest.output(`
        set -e
        echo "${type}" >${cache}
        [ "$(cat ${cache})" = "${type}" ]
        dd if=/dev/urandom of=/tmp/data bs=64k count=4
        dd if=/tmp/data of=${path} bs=64k oflag=direct conv=notrunc,fsync
        sha256sum </tmp/data
      `);
      assertEquals(await hashFile(image, 0, 4 << 16), hash.split(" ")[0]);
      seen.push(type);
    }
    return `${seen.join(", then ")}, both written through to the host`;
  });
}

async function showDeallocation(
  step: Step,
  { guest, image, disk, path }: Scene,
) {
  const size = 8 * MEBIBYTE;
  const zeroes = async (offset: number) => {
    await guest.output(`
      blockdev --flushbufs ${path}
      dd if=${path} bs=1M skip=${offset / MEBIBYTE} \\
        count=${size / MEBIBYTE} iflag=direct | cmp -n ${size} - /dev/zero
    `);
    const blank = await crypto.subtle.digest("SHA-256", new Uint8Array(size));
    assertEquals(
      await hashFile(image, offset, size),
      new Uint8Array(blank).toHex(),
    );
  };
  const erase = async (command: string, offset: number) => {
    const rest = offset + size;
    const neighbour = await hashFile(image, rest, MEBIBYTE);
    const before = allocatedBytes(image);
    await guest.output(command.replace("OFFSET", String(offset)));
    await zeroes(offset);
    assertEquals(await hashFile(image, rest, MEBIBYTE), neighbour);
    return before - allocatedBytes(image);
  };
  // Blocks of the host file's extent tree are counted along with its data.
  const metadata = 64 << 10;
  await step("discard and write zeroes are offered", async () => {
    // Without them the guest's kernel would write zeroes itself.
    const limits = await guest.output(
      `cd /sys/block/${disk}/queue &&
      cat discard_max_bytes write_zeroes_max_bytes`,
    );
    const [discard, zeroes] = limits.split("\n").map(Number);
    assert(discard! > 0 && zeroes! > 0, limits);
    return `at most ${discard} and ${zeroes} bytes`;
  });
  await step("blkdiscard frees the host's blocks", async () => {
    const freed = await erase(
      `blkdiscard --offset OFFSET --length ${size} ${path}`,
      8 * MEBIBYTE,
    );
    assert(Math.abs(freed - size) <= metadata, `${freed} bytes freed`);
    return `${freed} bytes freed`;
  });
  await step("fallocate --punch-hole frees the host's blocks", async () => {
    const freed = await erase(
      `fallocate --punch-hole --offset OFFSET --length ${size} ${path}`,
      26 * MEBIBYTE,
    );
    assert(Math.abs(freed - size) <= metadata, `${freed} bytes freed`);
    return `${freed} bytes freed`;
  });
  await step("fallocate --zero-range keeps the host's blocks", async () => {
    // The kernel asks for zeroes without the unmap flag here.
    const freed = await erase(
      `fallocate --zero-range --offset OFFSET --length ${size} ${path}`,
      44 * MEBIBYTE,
    );
    assert(Math.abs(freed) <= metadata, `${freed} bytes freed`);
    return `${size} bytes of zeroes`;
  });
}

async function showFio(step: Step, { guest, image, plan, path }: Scene) {
  const seconds = plan.fioSeconds;
  await step(`fio randrw verify=crc32c, ${seconds} s`, async () => {
    // Written blocks are read back and checked as they come (verify_backlog):
    // a run that ends by time never reaches the pass at its end.
    await guest.output(
      `fio --output=/tmp/fio.json --output-format=json \\
        --filename=${path} --direct=1 --rw=randrw --verify=crc32c \\
        --verify_fatal=1 --verify_backlog=256 --fsync=64 \\
        --time_based --runtime=${seconds} \\
        --name=small --ioengine=libaio --iodepth=32 --bs=4k \\
        --offset=0 --size=32M --cpus_allowed=0 \\
        --name=large --ioengine=io_uring --iodepth=8 --bs=64k \\
        --offset=32M --size=32M --cpus_allowed=1`,
      { timeoutMs: (seconds + 90) * 1000 },
    );
    const { jobs } = JSON.parse(await guest.output("cat /tmp/fio.json"));
    const seen: string[] = [];
    for (const job of jobs) {
      assertEquals(job.error, 0);
      assert(job.write.total_ios > 0, `${job.jobname} wrote nothing`);
      assert(
        job.read.total_ios > job.write.total_ios / 2,
        `${job.jobname} checked nothing: ${job.read.total_ios} reads, ` +
          `${job.write.total_ios} writes`,
      );
      seen.push(
        `${job.jobname}: ${job.read.total_ios} reads, ` +
          `${job.write.total_ios} writes`,
      );
    }
    return seen.join("; ");
  });
  await step("the disk is the host's file after fio", async () => {
    const hash = await guestHash(guest, path);
    assertEquals(hash, await hashFile(image));
    return hash;
  });
}

/** Shows what the guest sees of one disk and does with it. */
async function showDisk(step: Step, scene: Scene, hash: string) {
  const { guest, plan, disk, path } = scene;
  await showIdentity(step, scene);
  await showVariant(step, scene);
  await showRings(step, guest, `/sys/block/${disk}/device`, plan.packed);
  await showQueues(step, scene);
  await step("the whole disk is the host's file", async () => {
    assertEquals(await guestHash(guest, path), hash);
    return hash;
  });
  await showDirect(step, scene);
  await showWriteCache(step, scene);
  await showDeallocation(step, scene);
  await showFio(step, scene);
  scene.manifest = await showFiles(step, guest, path);
}

/** Shows what is left of one disk when its guest has gone. */
async function showEnd(step: Step, scene: Scene) {
  const { backEnd, stage, disk, image, manifest } = scene;
  await step("stopped by SIGTERM: exit code 0, no socket left", async () => {
    const { code } = await backEnd.stop();
    assertEquals(code, 0, backEnd.log);
    const names = [...Deno.readDirSync(stage.directory)].map((e) => e.name);
    assert(!names.includes(`${disk}.sock`), "The socket is still there");
    return "so it is";
  });
  const directory = `${stage.directory}/tree-${disk}`;
  await showFilesOnHost(step, { image, directory, manifest });
}

/** Shows all there is to see of writable disks of one guest, one by one. */
export async function diskScenario(
  step: Step,
  setup: Setup,
  plans: readonly DiskPlan[],
): Promise<void> {
  await using stage = await Stage.set();
  const disks: { name: string; file: string }[] = [];
  for (const [index, { variant }] of plans.entries()) {
    const name = diskName(index);
    const file = await stage.image(name, SIZE);
    disks.push({ name, file, ...variant });
  }
  const backEnds = await stage.serveAll(
    setup.kind,
    disks.map((disk) => ({ ...disk, serial: SERIAL })),
  );
  const hashes = await Promise.all(disks.map(({ file }) => hashFile(file)));
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: backEnds.map(({ socketPath }, index) => ({
      socketPath,
      packed: plans[index]!.packed,
    })),
  });
  const scenes = plans.map((plan, index): Scene => ({
    ...{ setup, stage, guest, plan, manifest: "" },
    image: disks[index]!.file,
    backEnd: backEnds[index]!,
    disk: disks[index]!.name,
    path: `/dev/${disks[index]!.name}`,
  }));
  const stepsOf = ({ plan: { variant, packed } }: Scene): Step => {
    if (plans.length === 1) return step;
    const prefix = `${describeVariant(variant)}, ${describeRings(packed)}`;
    return (name, body) => step(`${prefix}: ${name}`, body);
  };
  for (const [index, scene] of scenes.entries()) {
    await showDisk(stepsOf(scene), scene, hashes[index]!);
  }
  await guest.powerOff();
  for (const scene of scenes) await showEnd(stepsOf(scene), scene);
}
