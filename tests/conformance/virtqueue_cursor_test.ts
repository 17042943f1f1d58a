/**
 * Readers and writers: items 42 to 46.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { IovecList } from "../../src/io/iovec.ts";
import { pattern, readable, RING_KINDS, writable } from "./ring_rig.ts";

for (const kind of RING_KINDS) {
  /** A chain of readable bytes 0, 1, 2 ... and of writable ones, cut so. */
  const chainOf = (read: number[], write: number[] = []) => {
    const rig = kind.make({ size: 64, indirect: true });
    const place = (size: number, before: number) => {
      const at = rig.memory.allocate(size + 16) + 3;
      const bytes = pattern(before + size).subarray(before);
      rig.memory.write(at, bytes);
      return at;
    };
    let position = 0;
    const reads = read.map((size) => {
      const at = place(size, position);
      position += size;
      return readable(at, size);
    });
    const writes = write.map((size) => {
      return writable(rig.memory.allocate(size + 16) + 5, size);
    });
    rig.driver.add([...reads, ...writes], { indirect: true });
    rig.driver.publish();
    assert(rig.queue.pop());
    /** The writable bytes as the driver sees them. */
    const written = () =>
      writes.flatMap(({ address, size }) => {
        return [...rig.memory.read(Number(address), size)];
      });
    return { ...rig, ...rig.queue.chain, written, reads, writes };
  };

  describe(`virtqueue cursors, ${kind.name}`, () => {
    it("[C42] reading goes over borders at the start, between and at the end", () => {
      for (const cut of [0, 1, 2, 7, 8, 9, 15, 16]) {
        const { reader } = chainOf([cut, 16 - cut]);
        assertEquals(reader.readU64(), Infinity);
        assertEquals(reader.remaining, 8);
        assertEquals(reader.readU32(), 0x0b0a0908);
        assertEquals(reader.readU16(), 0x0d0c);
        assertEquals([reader.readU8(), reader.readU8()], [0x0e, 0x0f]);
        assertEquals([reader.readU8(), reader.remaining], [-1, 0]);
      }
    });

    it("[C42] skipping goes over borders, and not beyond the end", () => {
      for (let skip = 0; skip <= 12; skip++) {
        const { reader } = chainOf([1, 3, 0, 4, 4]);
        assert(!reader.skip(13));
        assertEquals(reader.remaining, 12);
        assert(reader.skip(skip));
        assertEquals(reader.readU8(), skip < 12 ? skip : -1);
      }
    });

    it("[C43] numbers shattered over single bytes are whole", () => {
      const ones = Array<number>(16).fill(1);
      const { reader, writer, written } = chainOf(ones, ones);
      assertEquals(reader.readU16(), 0x0100);
      assertEquals(reader.readU32(), 0x05040302);
      assertEquals(reader.readU64(), Infinity);
      assertEquals(reader.readU16(), 0x0f0e);
      assert(writer.writeU16(0x0201) && writer.writeU32(0xfffefdfc));
      assert(writer.writeU64(2 ** 53 - 2) && writer.writeU16(0x8070));
      assertEquals(
        written(),
        [1, 2, 0xfc, 0xfd, 0xfe, 0xff, 0xfe, 255, 255, 255, 255, 255, 31, 0]
          .concat([0x70, 0x80]),
      );
    });

    it("[C43] 64 bits are exact below 2^53", () => {
      for (const value of [0n, 1n, 2n ** 32n, 2n ** 53n - 1n]) {
        const rig = kind.make();
        const at = rig.memory.allocate(8);
        const bytes = new BigUint64Array([value]);
        rig.memory.write(at, new Uint8Array(bytes.buffer));
        rig.driver.add([readable(at, 3), readable(at + 3, 5)]);
        rig.driver.publish();
        assert(rig.queue.pop());
        assertEquals(rig.queue.chain.reader.readU64(), Number(value));
      }
    });

    it("[C44] at the end nothing is taken and the counters stay right", () => {
      const { reader, writer, written } = chainOf([3, 2], [2, 1]);
      assertEquals([reader.size, reader.remaining], [5, 5]);
      assertEquals(reader.readU64(), -1);
      assertEquals(reader.readU32(), 0x03020100);
      assertEquals([reader.readU32(), reader.readU16()], [-1, -1]);
      assertEquals([reader.size, reader.remaining], [5, 1]);
      assertEquals(reader.readU8(), 4);
      assert(!writer.writeU32(9) && !writer.writeU64(9));
      assertEquals([writer.written, writer.remaining], [0, 3]);
      assert(writer.writeU16(0x0201) && !writer.writeU16(9));
      assertEquals([writer.written, writer.remaining], [2, 1]);
      assert(writer.writeU8(3) && !writer.writeU8(9));
      assertEquals(written(), [1, 2, 3]);
    });

    it("[C44] byte arrays are filled as far as there are bytes", () => {
      for (const size of [0, 1, 100, 127, 128, 129, 1000, 1300]) {
        const { reader, writer, written } = chainOf([1, 699, 300], [500, 500]);
        const expected = Math.min(size, 1000);
        const target = new Uint8Array(size);
        assertEquals(reader.readBytes(target), expected);
        assertEquals(target.subarray(0, expected), pattern(expected));
        assertEquals(reader.remaining, 1000 - expected);
        assertEquals(writer.writeBytes(pattern(size)), expected);
        assertEquals(writer.written, expected);
        assertEquals(
          Uint8Array.from(written()).subarray(0, expected),
          pattern(expected),
        );
      }
    });

    it("[C45] a part that is not there is empty", () => {
      const none = chainOf([4]);
      assertEquals([none.writer.size, none.writer.written], [0, 0]);
      assert(!none.writer.writeU8(1) && !none.writer.locate(0));
      assertEquals(none.writer.writeBytes(pattern(3)), 0);
      const only = chainOf([], [4]);
      assertEquals([only.reader.size, only.reader.readU8()], [0, -1]);
      assert(only.reader.skip(0) && !only.reader.skip(1));
      using iovecs = new IovecList(4);
      assertEquals(only.reader.takeIovecs(iovecs, 0, 1), 0);
      assertEquals(only.reader.readBytes(new Uint8Array(4)), 0);
    });

    it("[C46] writing changes exactly what is written, reading nothing", () => {
      const { memory, reader, writer, reads, writes } = chainOf(
        [600, 3, 600],
        [5, 6000, 5],
      );
      const { guestAddress, size } = memory.regions[0]!;
      const before = memory.read(guestAddress, size);
      reader.readBytes(new Uint8Array(1000));
      reader.readU16();
      assertEquals(memory.read(guestAddress, size), before);
      const expected = before.slice();
      writer.skip(3);
      writer.writeBytes(new Uint8Array(4000).fill(0xaa));
      const start = Number(writes[0]!.address) - guestAddress;
      expected.fill(0xaa, start + 3, start + 5);
      const middle = Number(writes[1]!.address) - guestAddress;
      expected.fill(0xaa, middle, middle + 3998);
      assertEquals(reads.length, 3);
      assertEquals(memory.read(guestAddress, size), expected);
    });

    it("iovecs hold host addresses, cut at borders", () => {
      const { reader, writer, memory, reads, writes } = chainOf(
        [4, 8, 4],
        [8, 8],
      );
      const [region] = memory.regions;
      const delta = region!.hostAddress - region!.guestAddress;
      const host = (part: { address: number | bigint }) => {
        return Number(part.address) + delta;
      };
      using iovecs = new IovecList(4);
      reader.readU16();
      assertEquals(reader.takeIovecs(iovecs, 0, 0), 0);
      assertEquals(reader.takeIovecs(iovecs, 0, 15), 0);
      assertEquals(reader.takeIovecs(iovecs, 2, 12), 0);
      assertEquals(reader.remaining, 14);
      assertEquals(reader.takeIovecs(iovecs, 1, 12), 3);
      const list = [1, 2, 3].map((i) => [iovecs.base(i), iovecs.size(i)]);
      assertEquals(list, [
        [host(reads[0]!) + 2, 2],
        [host(reads[1]!), 8],
        [host(reads[2]!), 2],
      ]);
      assertEquals([reader.remaining, reader.readU16()], [2, 0x0f0e]);
      assertEquals(writer.takeIovecs(iovecs, 0, 8), 1);
      assertEquals(writer.takeIovecs(iovecs, 1, 7), 1);
      assertEquals([iovecs.base(1), iovecs.size(1)], [host(writes[1]!), 7]);
      assertEquals([writer.written, writer.writeU8(1)], [15, true]);
    });

    it("any writable byte can be located", () => {
      const { writer, memory, guest, writes } = chainOf([4], [3, 1, 5]);
      const { guestAddress } = memory.regions[0]!;
      writer.skip(2);
      const addresses = writes.flatMap(({ address, size }) => {
        return Array.from({ length: size }, (_, i) => Number(address) + i);
      });
      for (const [position, address] of addresses.entries()) {
        assert(writer.locate(position));
        const { foundRegion, foundOffset } = writer;
        assertEquals([foundRegion, foundOffset], [0, address - guestAddress]);
        guest.regions[foundRegion]!.view.setUint8(foundOffset, 200 + position);
        assertEquals(memory.read(address, 1), Uint8Array.of(200 + position));
      }
      for (const wrong of [-1, 9, NaN, Infinity]) assert(!writer.locate(wrong));
      assertEquals(writer.written, 2);
    });
  });
}
