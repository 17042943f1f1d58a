/** What a refused change of a vring leaves behind, on both kinds of rings. */
import { assertEquals } from "@std/assert";
import { VIRTIO_F_RING_PACKED } from "../../src/vhost_user/protocol.ts";
import { fullAddress, type Stage, stageTest, VERSION_1 } from "./harness.ts";

const SIZE = 128;

/** A kind of ring, with bases that it can have and one that it can't. */
const KINDS = [
  { name: "split", features: VERSION_1, start: 0, good: 77, bad: 0x1_0000 },
  {
    name: "packed",
    features: VERSION_1 | VIRTIO_F_RING_PACKED,
    start: 0x8000_8000,
    good: 0x8011_8022,
    bad: 0x8000_8000 + SIZE,
  },
];

/** Negotiates, shares memory and says all but the kick of ring 0. */
async function describe(stage: Stage, features: bigint): Promise<void> {
  const { frontend } = stage;
  await frontend.negotiate({ features });
  await frontend.setMemTable([stage.region()]);
  await frontend.setVringNum(0, SIZE);
  await frontend.setVringAddr(fullAddress(0));
}

for (const { name, features, start, good, bad } of KINDS) {
  const kindTest = (what: string, body: (stage: Stage) => Promise<void>) =>
    stageTest(`${what} (${name})`, async (stage) => {
      await describe(stage, features);
      await body(stage);
    }, (backend) => backend.features = features);

  kindTest("a refused base leaves the one before", async (stage) => {
    const { frontend, backend } = stage;
    await frontend.setVringBase(0, good);
    await frontend.setVringKick(0, stage.eventFd());
    await stage.refused(frontend.setVringBase(0, bad));
    assertEquals(backend.rings.get(0)?.start.base, good, "it runs as before");
    assertEquals(await frontend.getVringBase(0), good);
  });

  kindTest("a refused base leaves none where there was none", async (stage) => {
    const { frontend, backend } = stage;
    await frontend.setVringKick(0, stage.eventFd());
    await stage.refused(frontend.setVringBase(0, bad));
    assertEquals(backend.rings.get(0)?.start.base, start);
    assertEquals(await frontend.getVringBase(0), start);
  });

  kindTest(
    "a size that does not go with the base is refused whole",
    async (stage) => {
      const { frontend, backend } = stage;
      await frontend.setVringBase(0, good);
      await frontend.setVringKick(0, stage.eventFd());
      backend.failing.add("startVring");
      await stage.refused(frontend.setVringNum(0, 32));
      assertEquals(backend.rings.size, 0, "nothing starts now");
      backend.failing.clear();
      await frontend.setVringEnable(0, true);
      assertEquals(backend.rings.get(0)?.start.size, SIZE);
      assertEquals(backend.rings.get(0)?.start.base, good);
    },
  );

  kindTest(
    "a base that can't be started from is refused whole",
    async (stage) => {
      const { frontend, backend } = stage;
      await frontend.setVringBase(0, good);
      await frontend.setVringKick(0, stage.eventFd());
      backend.failing.add("startVring");
      await stage.refused(frontend.setVringBase(0, start));
      backend.failing.clear();
      assertEquals(await frontend.getVringBase(0), good);
    },
  );
}
