/**
 * Hostile front-ends: descriptors that are not what they should be, against a
 * real process with rings that run.
 */
import { assert, assertEquals } from "@std/assert";
import {
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  O_RDONLY,
  O_RDWR,
} from "../../src/ffi/abi.ts";
import { libc } from "../../src/ffi/libc.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import { BLOCK_STATUS } from "../../src/testing/block_driver.ts";
import type { SharedRegion } from "../../src/vhost_user/frontend.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  blockOf,
  PLANES,
  readsRight,
  refused,
  until,
  withTarget,
} from "./support/hostile_target.ts";
import { RawRing } from "./support/raw_ring.ts";
import { fill, openFd, openPipe } from "./support/strange_fds.ts";

const MIB = 1 << 20;
/** A region that the driver's memory does not have. */
const MORE_AT = 0x8000_0000;

/** Opens what is to be sent; what it needs besides goes to `own`. */
type Open = (own: <T extends Disposable>(resource: T) => T) => Fd;

const NO_MEMORY: readonly [what: string, open: Open][] = [
  ["/dev/null", () => openFd("/dev/null", O_RDWR)],
  ["/dev/zero", () => openFd("/dev/zero", O_RDWR)],
  ["a pipe", (own) => {
    const [reader, writer] = openPipe();
    own(reader);
    return writer;
  }],
  ["a directory", () => openFd("/", O_RDONLY)],
  ["an eventfd", () => EventFd.open().fd],
  ["a socket", (own) => {
    const [one, other] = UnixSocket.pair();
    own(one);
    return other.fd;
  }],
  ["a memfd that is open for reading only", (own) => {
    const memfd = own(createMemfd("test", MIB));
    return openFd(`/proc/self/fd/${memfd.number}`, O_RDONLY);
  }],
  ["a memfd that is sealed against writing", () => {
    const seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    return createMemfd("test", MIB, { seals });
  }],
  ["a memfd that is a page too short", () => createMemfd("test", MIB - 4096)],
  ["a memfd without a byte", () => createMemfd("test", 0)],
];

const NO_NOTIFIERS: readonly [what: string, open: Open][] = [
  ["a regular file", () => openFd(import.meta.filename!, O_RDONLY)],
  ["/dev/zero", () => openFd("/dev/zero", O_RDWR)],
  ["a terminal", () => openFd("/dev/ptmx", O_RDWR)],
  ["a directory", () => openFd("/", O_RDONLY)],
  ["a memfd", () => createMemfd("test", MIB)],
];

const SOCKETS: readonly [what: string, open: Open][] = [
  ["a socket", (own) => {
    const [one, other] = UnixSocket.pair();
    own(one);
    return other.fd;
  }],
  ["a full socket that blocks", (own) => {
    const [one, other] = UnixSocket.pair();
    own(one);
    fill(other.fd);
    return other.fd;
  }],
];

/** Opens a descriptor for as long as `use` takes. */
async function withFd(
  open: Open,
  use: (fd: Fd) => Promise<void>,
): Promise<void> {
  using resources = new DisposableStack();
  await use(resources.use(open((resource) => resources.use(resource))));
}

function region(fd: Fd, change: Partial<SharedRegion> = {}): SharedRegion {
  return {
    guestAddress: MORE_AT,
    userAddress: MORE_AT,
    size: MIB,
    mmapOffset: 0,
    fd,
    ...change,
  };
}

/** All regions of the connection, to be sent again. */
function sameRegions(disk: BlockConnection): SharedRegion[] {
  return disk.memory.regions.map((region) => ({ ...region, fd: region.fd! }));
}

/** Block 1 is read into the memory of `fd`, which is at MORE_AT. */
async function readsInto(disk: BlockConnection, fd: Fd): Promise<void> {
  const raw = new RawRing(disk);
  const { header, status } = raw.read(1);
  const data = { address: MORE_AT, size: BLOCK_SIZE, writable: true };
  await raw.send([header, data, status]);
  assertEquals(raw.byteOf(status), BLOCK_STATUS.OK);
  const file = Deno.readFileSync(`/proc/self/fd/${fd.number}`);
  assertBytes(file.subarray(0, BLOCK_SIZE), blockOf(1), "The file");
}

/** A request whose completion is polled for. */
async function servesUncalled(raw: RawRing): Promise<void> {
  const { header, data, status } = raw.read(1);
  const { publishedUsedIndex } = raw.ring;
  raw.ring.add([header, data, status]);
  raw.publish();
  await until(
    () => raw.ring.publishedUsedIndex !== publishedUsedIndex,
    () => "The request was not answered",
  );
  raw.ring.nextUsed();
  assertEquals(raw.byteOf(status), BLOCK_STATUS.OK);
}

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H10] [H09] what is no memory is refused while rings run on, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [what, open] of NO_MEMORY) {
        await target.survives(
          `memory that is ${what}`,
          (disk) =>
            withFd(open, async (fd) => {
              const { frontend } = disk;
              await refused(disk, frontend.addMemReg(region(fd)));
              const table = [...sameRegions(disk), region(fd)];
              await refused(disk, frontend.setMemTable(table));
              await readsRight(disk, 0);
            }),
        );
      }
    }));

  Deno.test(`[H10] [C59] a file that is deleted later is memory all the same, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a file that is deleted", async (disk) => {
          const path = Deno.makeTempFileSync({ prefix: "ringside-memory-" });
          Deno.truncateSync(path, MIB);
          using fd = openFd(path, O_RDWR);
          await disk.frontend.addMemReg(region(fd));
          Deno.removeSync(path);
          await readsInto(disk, fd);
          await disk.frontend.removeMemReg(region(fd));
        }),
    ));

  Deno.test(`[H10] memory of any size is mapped or refused, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("huge regions", async (disk) => {
          for (const bits of [33, 37, 43]) {
            using fd = createMemfd("test", 2 ** bits);
            const huge = region(fd, { size: 2 ** bits });
            await disk.frontend.addMemReg(huge);
            await readsRight(disk, 0);
            await disk.frontend.removeMemReg(huge);
          }
          // More than a process has addresses for.
          using fd = createMemfd("test", 2 ** 47);
          const huge = region(fd, { size: 2 ** 47 });
          await refused(disk, disk.frontend.addMemReg(huge));
        }),
    ));

  Deno.test(`[H11] what can't notify is refused while rings run on, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [what, open] of NO_NOTIFIERS) {
        await target.survives(
          `a notifier that is ${what}`,
          (disk) =>
            withFd(open, async (fd) => {
              const { frontend } = disk;
              await refused(disk, frontend.setVringKick(0, fd));
              await refused(disk, frontend.setVringCall(0, fd));
              await refused(disk, frontend.setVringErr(0, fd));
              await new RawRing(disk).goesOn();
            }),
        );
      }
    }));

  Deno.test(`[H11] a socket is called and never waited for, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [what, open] of SOCKETS) {
        await target.survives(
          `a call that is ${what}`,
          (disk) =>
            withFd(open, async (fd) => {
              const { frontend } = disk;
              await refused(disk, frontend.setVringKick(0, fd));
              await frontend.setVringCall(0, fd);
              await frontend.setVringErr(0, fd);
              const raw = new RawRing(disk);
              for (let i = 0; i < 20; i++) await servesUncalled(raw);
            }),
        );
      }
    }));

  Deno.test(`[H11] [H30] a call that nobody can take blocks nobody, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("a call that is a full pipe", async (disk) => {
        const [reader, writer] = openPipe();
        using _reader = reader;
        using full = writer;
        fill(full);
        await disk.frontend.setVringCall(0, full);
        const raw = new RawRing(disk);
        for (let i = 0; i < 20; i++) await servesUncalled(raw);
      });
      await target.survives("a call that is a broken pipe", async (disk) => {
        const [reader, writer] = openPipe();
        using broken = writer;
        reader.close();
        await disk.frontend.setVringCall(0, broken);
        const raw = new RawRing(disk);
        for (let i = 0; i < 20; i++) await servesUncalled(raw);
      });
      await target.survives("a call that is a full eventfd", async (disk) => {
        using full = EventFd.open();
        const most = Uint32Array.of(0xffff_fffe, 0xffff_ffff);
        assertEquals(libc.write(full.fd.number, most, 8), 8);
        await disk.frontend.setVringCall(0, full.fd);
        const raw = new RawRing(disk);
        for (let i = 0; i < 20; i++) await servesUncalled(raw);
      });
      await target.survives("a call that is the kick", async (disk) => {
        await disk.frontend.setVringCall(0, disk.rings[0]!.kick.fd);
        const raw = new RawRing(disk);
        for (let i = 0; i < 20; i++) await servesUncalled(raw);
      });
    }));

  Deno.test(`[H11] an err that is a full pipe does not keep a ring from breaking, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("an err that is a full pipe", async (disk) => {
          const [reader, writer] = openPipe();
          using _reader = reader;
          using full = writer;
          fill(full);
          await disk.frontend.setVringErr(0, full);
          const raw = new RawRing(disk);
          raw.ring.rawAvailableIndex(0x4000);
          raw.kick();
          await target.says("block: Ring 0 is broken");
        }),
    ));

  Deno.test(`[H11] a kick that is a pipe kicks, and may break, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("a kick that is a pipe", async (disk) => {
        const [reader, writer] = openPipe();
        using kicked = reader;
        using kicking = writer;
        await disk.frontend.setVringKick(0, kicked);
        const raw = new RawRing(disk);
        const { header, data, status } = raw.read(1);
        for (let i = 0; i < 20; i++) {
          const head = raw.ring.add([header, data, status]);
          raw.ring.publish();
          assertEquals(libc.write(kicking.number, new Uint8Array(1), 1), 1);
          assertEquals((await raw.take()).head, head);
        }
        kicking.close();
      });
      await target.survives("a kick that is a broken pipe", async (disk) => {
        const [reader, writer] = openPipe();
        using kicked = reader;
        writer.close();
        await disk.frontend.setVringKick(0, kicked);
      });
    }));

  Deno.test(`[H20] a back-end channel that is misused hurts nobody, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const channel = (disk: BlockConnection, fd: Fd) =>
        disk.frontend.command(
          VHOST_USER.SET_BACKEND_REQ_FD,
          new Uint8Array(0),
          [fd],
        );
      await target.survives("a channel that is closed", async (disk) => {
        const [ours, theirs] = UnixSocket.pair();
        using fd = theirs.fd;
        ours[Symbol.dispose]();
        await channel(disk, fd);
      });
      await target.survives("a channel that is full", async (disk) => {
        const [ours, theirs] = UnixSocket.pair();
        using _ours = ours;
        using fd = theirs.fd;
        fill(fd);
        await channel(disk, fd);
      });
      await target.survives("a channel full of garbage", async (disk) => {
        const [ours, theirs] = UnixSocket.pair();
        using garbage = ours;
        using fd = theirs.fd;
        fill(garbage.fd);
        await channel(disk, fd);
      });
      await target.survives(
        "a channel that is replaced for ever",
        async (disk) => {
          const [ours, theirs] = UnixSocket.pair();
          using _ours = ours;
          using fd = theirs.fd;
          for (let i = 0; i < 100; i++) await channel(disk, fd);
        },
      );
      await target.survives("a channel that is no socket", async (disk) => {
        using eventFd = EventFd.open();
        await refused(disk, channel(disk, eventFd.fd));
      });
      assert(!target.backEnd.log.includes("Defect"));
    }));
}
