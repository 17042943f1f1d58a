import { assertEquals } from "@std/assert";
import {
  ALLOW_CSUM,
  ALLOW_ECN,
  ALLOW_TSO4,
  ALLOW_TSO6,
  ALLOW_UFO,
  ALLOW_USO,
  checkHeader,
} from "./offload.ts";

const ALL = ALLOW_CSUM | ALLOW_TSO4 | ALLOW_TSO6 | ALLOW_ECN | ALLOW_UFO |
  ALLOW_USO;

interface Header {
  flags?: number;
  type?: number;
  headerSize?: number;
  segmentSize?: number;
  start?: number;
  offset?: number;
  buffers?: number;
}

function header(fields: Header): DataView {
  const view = new DataView(new ArrayBuffer(12));
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.type ?? 0);
  view.setUint16(2, fields.headerSize ?? 0, true);
  view.setUint16(4, fields.segmentSize ?? 0, true);
  view.setUint16(6, fields.start ?? 0, true);
  view.setUint16(8, fields.offset ?? 0, true);
  view.setUint16(10, fields.buffers ?? 0, true);
  return view;
}

/** A segment of TCP over IPv4 that is to be cut. */
const TSO = {
  flags: 1,
  type: 1,
  headerSize: 54,
  segmentSize: 1448,
  start: 34,
  offset: 16,
};

Deno.test("[H28] a checksum lies within the frame", () => {
  const cases: [fields: Header, size: number, good: boolean][] = [
    [{ flags: 1, start: 34, offset: 16 }, 60, true],
    [{ flags: 1, start: 34, offset: 16 }, 52, true],
    [{ flags: 1, start: 34, offset: 16 }, 51, false],
    [{ flags: 1, start: 14, offset: 0 }, 16, true],
    [{ flags: 1, start: 13, offset: 0 }, 60, false],
    [{ flags: 1, start: 60, offset: 0 }, 60, false],
    [{ flags: 1, start: 0xffff, offset: 0xffff }, 65553, false],
    [{ flags: 1, start: 0xffff, offset: 16 }, 65553, true],
    [{ flags: 1, start: 34, offset: 0xffff }, 1500, false],
  ];
  for (const [fields, size, good] of cases) {
    assertEquals(checkHeader(header(fields), size, ALL), good);
    assertEquals(checkHeader(header(fields), size, ALL & ~ALLOW_CSUM), false);
  }
});

Deno.test("[H28] what is to be cut says how, and was negotiated", () => {
  const types: [type: number, bits: number][] = [
    [1, ALLOW_TSO4],
    [4, ALLOW_TSO6],
    [3, ALLOW_UFO],
    [5, ALLOW_USO],
    [0x81, ALLOW_TSO4 | ALLOW_ECN],
    [0x84, ALLOW_TSO6 | ALLOW_ECN],
  ];
  for (const [type, bits] of types) {
    const fields = { ...TSO, type };
    const allowed = ALLOW_CSUM | bits;
    assertEquals(checkHeader(header(fields), 9000, allowed), true);
    for (let bit = 1; bit <= ALLOW_USO; bit <<= 1) {
      if ((allowed & bit) === 0) continue;
      assertEquals(checkHeader(header(fields), 9000, ALL & ~bit), false);
    }
    for (const lie of [{ segmentSize: 0 }, { flags: 0 }]) {
      assertEquals(
        checkHeader(header({ ...fields, ...lie }), 9000, ALL),
        false,
      );
    }
  }
  for (const type of [2, 6, 0x7f, 0x80, 0x83, 0x85, 0xff]) {
    assertEquals(checkHeader(header({ ...TSO, type }), 9000, ALL), false);
  }
});

Deno.test("[H28] a header length that lies is cut to the frame", () => {
  const view = header({ ...TSO, headerSize: 0xffff });
  assertEquals(checkHeader(view, 1000, ALL), true);
  assertEquals(view.getUint16(2, true), 1000);
});

Deno.test("what means nothing when sending is cleared", () => {
  const view = header({
    flags: 0xfe,
    headerSize: 99,
    segmentSize: 99,
    start: 99,
    offset: 99,
    buffers: 99,
  });
  assertEquals(checkHeader(view, 60, 0), true);
  assertEquals(new Uint8Array(view.buffer), new Uint8Array(12));
  const sum = header({ flags: 0xff, start: 34, offset: 6, headerSize: 9 });
  assertEquals(checkHeader(sum, 60, ALL), true);
  assertEquals(
    [...new Uint8Array(sum.buffer)],
    [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0],
  );
});
