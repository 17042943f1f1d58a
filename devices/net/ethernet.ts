/**
 * Ethernet addresses, and the one frame that we send ourselves.
 *
 * @module
 */
import { UsageError } from "../../src/errors.ts";
import { ETHERNET_SIZE, HEADER_SIZE } from "./protocol.ts";

const ADDRESS_SIZE = 6;
/** The smallest frame on a wire, without its checksum. */
const FRAME_MIN = 60;
const ETHERTYPE_RARP = 0x8035;

/** The address that `text` spells. Throws a UsageError. */
export function macOf(text: string): Uint8Array {
  const bytes = text.split(/[:-]/).map((part) =>
    /^[0-9a-fA-F]{2}$/.test(part) ? parseInt(part, 16) : -1
  );
  if (bytes.length !== ADDRESS_SIZE || bytes.includes(-1)) {
    throw new UsageError(
      `--mac is "${text}": give it six bytes, as 52:54:00:12:34:56`,
    );
  }
  if ((bytes[0]! & 1) !== 0 || bytes.every((byte) => byte === 0)) {
    throw new UsageError(
      `--mac is ${text}, which is no address of one card: its first byte is ` +
        "even, as in 52:54:00:12:34:56",
    );
  }
  return Uint8Array.from(bytes);
}

/** An address of nobody, locally administered. */
export function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(ADDRESS_SIZE));
  mac[0] = 0x52; // As QEMU's: not of a group, locally administered.
  return mac;
}

/**
 * A reverse ARP request of `mac` (RFC 903) with a virtio header before it: it
 * tells switches where `mac` is, and hosts do nothing about it.
 */
export function rarpFrame(mac: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_SIZE + FRAME_MIN);
  const frame = bytes.subarray(HEADER_SIZE);
  const view = new DataView(frame.buffer, frame.byteOffset);
  frame.fill(0xff, 0, ADDRESS_SIZE);
  frame.set(mac, ADDRESS_SIZE);
  view.setUint16(12, ETHERTYPE_RARP);
  view.setUint16(ETHERNET_SIZE, 1); // Ethernet
  view.setUint16(ETHERNET_SIZE + 2, 0x0800); // IPv4
  view.setUint8(ETHERNET_SIZE + 4, ADDRESS_SIZE);
  view.setUint8(ETHERNET_SIZE + 5, 4);
  view.setUint16(ETHERNET_SIZE + 6, 3); // Request reverse
  frame.set(mac, ETHERNET_SIZE + 8);
  frame.set(mac, ETHERNET_SIZE + 18);
  return bytes;
}
