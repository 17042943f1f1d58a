/**
 * The pcapng file format (draft-ietf-opsawg-pcapng), as much of it as there is
 * in a capture of one interface. Little-endian; lengths in bytes.
 *
 * @module
 */

/** Bytes of an Enhanced Packet Block before the packet. */
export const EPB_HEAD_SIZE = 28;
/** Bytes behind the packet and its padding: direction, end of options, length. */
export const EPB_TAIL_SIZE = 16;
/** The block type of a packet. */
export const EPB_TYPE = 6;
/** The option that tells the direction. */
export const EPB_FLAGS = 2;
/** To the interface: the guest received it. */
export const INBOUND = 1;
/** From the interface: the guest sent it. */
export const OUTBOUND = 2;

const SHB_TYPE = 0x0a0d0d0a;
const IDB_TYPE = 1;
const ISB_TYPE = 5;
const MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;

/** One option of a block: code and value. */
type Option = readonly [code: number, value: Uint8Array];

/** The beginning of a file: section and interface. */
export function fileHeader(
  program: string,
  interfaceName: string,
  mac: Uint8Array,
  snapLength: number,
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder();
  const section = new DataView(new ArrayBuffer(16));
  section.setUint32(0, MAGIC, true);
  section.setUint16(4, 1, true);
  section.setBigInt64(8, -1n, true); // The length of the section is not known.
  const description = new DataView(new ArrayBuffer(8));
  description.setUint16(0, LINKTYPE_ETHERNET, true);
  description.setUint32(4, snapLength, true);
  return concat([
    block(SHB_TYPE, bytesOf(section), [[4, text.encode(program)]]),
    block(IDB_TYPE, bytesOf(description), [
      [2, text.encode(interfaceName)],
      [6, mac],
    ]),
  ]);
}

/** The end of a file: what the interface took and dropped, at `time` in us. */
export function statistics(
  received: number,
  dropped: number,
  time: number,
): Uint8Array<ArrayBuffer> {
  const body = new DataView(new ArrayBuffer(12));
  body.setUint32(4, Math.floor(time / 2 ** 32), true);
  body.setUint32(8, time % 2 ** 32, true);
  return block(ISB_TYPE, bytesOf(body), [
    [4, u64(received)],
    [5, u64(dropped)],
  ]);
}

function block(
  type: number,
  body: Uint8Array,
  options: readonly Option[],
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [body];
  for (const [code, value] of options) {
    const head = new DataView(new ArrayBuffer(4));
    head.setUint16(0, code, true);
    head.setUint16(2, value.length, true);
    parts.push(bytesOf(head), value, new Uint8Array(-value.length & 3));
  }
  parts.push(new Uint8Array(4));
  const size = 12 + parts.reduce((sum, { length }) => sum + length, 0);
  const head = new DataView(new ArrayBuffer(8));
  head.setUint32(0, type, true);
  head.setUint32(4, size, true);
  const tail = new DataView(new ArrayBuffer(4));
  tail.setUint32(0, size, true);
  return concat([bytesOf(head), ...parts, bytesOf(tail)]);
}

function u64(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return bytesOf(view);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
