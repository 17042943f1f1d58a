/** The memory in which rings record what is in flight. */
import { assertEquals } from "@std/assert";
import { F_GET_SEALS, F_SEAL_GROW, F_SEAL_SHRINK } from "../../src/ffi/abi.ts";
import { libc } from "../../src/ffi/libc.ts";
import { fileStatus } from "../../src/ffi/status.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import {
  type InflightDescription,
  inflightDescription,
} from "../../src/vhost_user/message.ts";
import { protocolBit, VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { type FakeBackend, type Stage, stageTest } from "./harness.ts";

const INFLIGHT_SHMFD = 1n << 12n;
const PROTOCOL_FEATURES = INFLIGHT_SHMFD | protocolBit(3) | protocolBit(13);

function resubmits(backend: FakeBackend): void {
  backend.resubmits = true;
}

async function ready({ frontend }: Stage): Promise<void> {
  await frontend.negotiate({ protocolFeatures: PROTOCOL_FEATURES });
}

stageTest(
  "[C58] INFLIGHT_SHMFD is offered where requests may be run again",
  async ({ frontend, backend }) => {
    assertEquals(await frontend.getProtocolFeatures() & INFLIGHT_SHMFD, 0n);
    backend.resubmits = true;
    const offered = await frontend.getProtocolFeatures();
    assertEquals(offered & INFLIGHT_SHMFD, INFLIGHT_SHMFD);
  },
);

stageTest(
  "[C58] GET_INFLIGHT_FD gives blank memory that nobody can make shorter",
  async (stage) => {
    await ready(stage);
    const { inflight } = stage.frontend;
    const buffer = stage.own((await inflight.getFd(3, 256))!);
    const mmapSize = 3 * (16 + 16 * 256 + 48);
    assertEquals(buffer.description, {
      mmapSize,
      mmapOffset: 0,
      queueCount: 3,
      queueSize: 256,
    });
    const fd = buffer.fd.number;
    assertEquals(fileStatus(fd).size, mmapSize);
    const seals = F_SEAL_SHRINK | F_SEAL_GROW;
    assertEquals(libc.fcntl(fd, F_GET_SEALS, 0), seals);
  },
  resubmits,
);

stageTest(
  "[C58] rings that start after SET_INFLIGHT_FD record there",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.setMemTable([stage.region()]);
    await stage.startRing(0);
    assertEquals(backend.rings.get(0)!.start.inflight, null);
    await frontend.getVringBase(0);
    const buffer = stage.own((await frontend.inflight.getFd(2, 256))!);
    await frontend.inflight.setFd(buffer);
    for (const index of [0, 1, 2]) await stage.startRing(index);
    const areas = [0, 1, 2].map((i) => backend.rings.get(i)!.start.inflight);
    const size = 16 + 16 * 256 + 48;
    assertEquals(areas[0]!.size, size);
    assertEquals(areas[1]!.address, areas[0]!.address + size);
    assertEquals(areas[2], null, "there are two areas");
    // Nothing moves under a ring that runs.
    await stage.refused(frontend.inflight.setFd(buffer));
    for (const index of [0, 1, 2]) await frontend.getVringBase(index);
    await frontend.inflight.setFd(buffer);
  },
  resubmits,
);

stageTest(
  "[C58] the area of another back-end, which rounds in its own way, is taken",
  async (stage) => {
    const { frontend, backend } = stage;
    await ready(stage);
    await frontend.setMemTable([stage.region()]);
    const mmapSize = 2 * (16 + 16 * 256);
    const fd = stage.memfd(8192 + mmapSize);
    await set(stage, { mmapSize, mmapOffset: 8192 }, fd.number);
    await stage.startRing(0);
    await stage.startRing(1);
    const [first, second] = [0, 1].map((index) =>
      backend.rings.get(index)!.start.inflight!
    );
    assertEquals(second!.address - first!.address, mmapSize / 2);
  },
  resubmits,
);

stageTest(
  "[C58] [H12] areas that can't be are refused",
  async (stage) => {
    const { frontend } = stage;
    await ready(stage);
    const counts: [number, number][] = [
      [0, 256],
      [1, 0],
      [5, 256],
      [4, 1025],
      [65535, 65535],
    ];
    for (const [queueCount, queueSize] of counts) {
      await stage.refused(frontend.inflight.getFd(queueCount, queueSize));
      await stage.refused(
        set(stage, { queueCount, queueSize }, stage.memfd().number),
      );
    }
    const memfd = stage.memfd(65536).number;
    const one = stage.memfd(1).number;
    const eventFd = stage.own(EventFd.open()).fd.number;
    const wrong: [Partial<InflightDescription>, number][] = [
      [{}, one],
      [{}, eventFd],
      [{ mmapSize: 0 }, memfd],
      [{ mmapSize: 64 }, memfd],
      [{ mmapSize: 2 ** 63 }, memfd],
      [{ mmapSize: 65536, mmapOffset: 8 }, memfd],
      [{ mmapOffset: 4 }, memfd],
      [{ mmapOffset: 2 ** 63 }, memfd],
    ];
    for (const [part, fd] of wrong) await stage.refused(set(stage, part, fd));
  },
  resubmits,
);

/** SET_INFLIGHT_FD of 2 rings of 256 entries, less what `part` says otherwise. */
async function set(
  { frontend }: Stage,
  part: Partial<InflightDescription>,
  fd: number,
): Promise<void> {
  const payload = inflightDescription.encode({
    mmapSize: 2 * 4160,
    mmapOffset: 0,
    queueCount: 2,
    queueSize: 256,
    ...part,
  });
  await frontend.command(VHOST_USER.SET_INFLIGHT_FD, payload, [fd]);
}
