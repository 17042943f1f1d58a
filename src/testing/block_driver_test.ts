import { assertEquals, assertRejects } from "@std/assert";
import {
  BLOCK_STATUS,
  BlockDriver,
  type BlockDriverOptions,
  BlockError,
} from "./block_driver.ts";
import { FakeDriver } from "./fake_driver.ts";
import { RING_KINDS } from "./ring_kinds.ts";

for (const kind of RING_KINDS) {
  /** A disk that writes down what it is asked, and answers `status`. */
  const open = (options: BlockDriverOptions = {}, status = 0) => {
    const asked: number[][] = [];
    const fake = FakeDriver.over(() => ({
      drain(queue) {
        while (queue.pop()) {
          const { head, reader, writer } = queue.chain;
          const type = reader.readU32();
          reader.skip(4);
          const sector = reader.readU64();
          asked.push([type, sector, reader.remaining, writer.size]);
          const data = new Uint8Array(writer.size - 1).fill(65);
          writer.writeBytes(data);
          writer.writeU8(status);
          queue.push(head, writer.written);
        }
      },
    }), { kind });
    const [port] = fake.rings;
    const disk = new BlockDriver(fake.memory, port!.ring, port!, options);
    return { fake, disk, asked };
  };

  Deno.test(`requests are those of virtio 1.3 §5.2.6 (${kind.name})`, async () => {
    for (const indirect of [false, true]) {
      const { fake, disk, asked } = open({ indirect });
      using _fake = fake;
      const ranges = [{ sector: 1, sectors: 2 }, { sector: 3, sectors: 4 }];
      assertEquals(await disk.read(5, 1024), new Uint8Array(1024).fill(65));
      await disk.write(2 ** 40, new Uint8Array(512));
      await disk.flush();
      assertEquals(await disk.getId(), "A".repeat(20));
      await disk.discard(ranges);
      await disk.writeZeroes(ranges.slice(1), { readable: [7], indirect: 0 });
      assertEquals(asked, [
        [0, 5, 0, 1025],
        [1, 2 ** 40, 512, 1],
        [4, 0, 0, 1],
        [8, 0, 0, 21],
        [11, 0, 32, 1],
        [13, 0, 16, 1],
      ]);
    }
  });

  Deno.test(`a status other than OK is an error that names the request (${kind.name})`, async () => {
    for (const status of [BLOCK_STATUS.IOERR, BLOCK_STATUS.UNSUPP, 77]) {
      const { fake, disk } = open({}, status);
      using _fake = fake;
      const error = await assertRejects(() => disk.read(8, 512), BlockError);
      assertEquals(error.status, status);
      assertEquals(
        error.message,
        `IN at sector 8 was answered with status ${status}, wanted 0`,
      );
    }
  });

  Deno.test(`a status that is never written is no OK (${kind.name})`, async () => {
    using fake = FakeDriver.over(() => ({
      drain(queue) {
        while (queue.pop()) queue.push(queue.chain.head, 0);
      },
    }), { kind });
    const [port] = fake.rings;
    const disk = new BlockDriver(fake.memory, port!.ring, port!);
    for (let i = 0; i < 3; i++) {
      await assertRejects(() => disk.flush(), BlockError);
    }
  });
}
