/**
 * As much of an IPv4 host as a test needs behind a network card: it answers to
 * ARP and echo requests, and asks for echoes itself.
 *
 * @module
 */
import type { NetDriver } from "../../../src/testing/net_driver.ts";

const ARP = 0x0806;
const IPV4 = 0x0800;
const ICMP = 1;
const ETHERNET = 14;
const RETRY_MS = 200;

/** An echo that came back, or another packet. */
export interface Echo {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** A host with one card. */
export class IpStack {
  readonly #driver: NetDriver;
  readonly #mac: Uint8Array;
  readonly #address: Uint8Array;
  /** Who asked for our address, or answered. */
  #peer: Uint8Array = new Uint8Array(6).fill(0xff);
  /** Echoes that came back. */
  readonly echoes: Echo[] = [];
  /** Echo requests that were answered. */
  answered = 0;
  /** Frames that were anything else. */
  others = 0;

  constructor(driver: NetDriver, mac: readonly number[], address: string) {
    this.#driver = driver;
    this.#mac = Uint8Array.from(mac);
    this.#address = addressOf(address);
  }

  /** Takes frames until `done`. */
  async serve(done: () => boolean): Promise<void> {
    while (!done()) {
      const { frame } = await this.#driver.next();
      await this.#handle(frame);
    }
  }

  /** Takes what is there. */
  async poll(): Promise<void> {
    for (let got; (got = this.#driver.take()) !== null;) {
      await this.#handle(got.frame);
    }
    this.#driver.post();
  }

  /**
   * Asks `address` for its MAC address, and waits for the answer. Asks again, as
   * every host does: the kernel drops what an interface has to send until it
   * has taken note of its carrier, some time after that is there.
   */
  async resolve(address: string): Promise<void> {
    const request = new Uint8Array(28);
    const view = new DataView(request.buffer);
    view.setUint16(0, 1);
    view.setUint16(2, IPV4);
    view.setUint8(4, 6);
    view.setUint8(5, 4);
    view.setUint16(6, 1);
    request.set(this.#mac, 8);
    request.set(this.#address, 14);
    request.set(addressOf(address), 24);
    const before = this.#peer;
    while (this.#peer === before) {
      await this.#send(new Uint8Array(6).fill(0xff), ARP, request);
      const end = performance.now() + RETRY_MS;
      while (this.#peer === before && performance.now() < end) {
        await this.poll();
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
  }

  /** Sends an echo request. */
  async ask(
    address: string,
    sequence: number,
    payload: Uint8Array,
  ): Promise<void> {
    const message = new Uint8Array(8 + payload.length);
    const view = new DataView(message.buffer);
    view.setUint8(0, 8);
    view.setUint16(6, sequence);
    message.set(payload, 8);
    view.setUint16(2, checksum(message));
    await this.#sendIp(addressOf(address), message);
  }

  async #handle(frame: Uint8Array): Promise<void> {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const type = view.getUint16(12);
    if (type === ARP) return await this.#handleArp(frame, view);
    if (type !== IPV4 || frame[ETHERNET + 9] !== ICMP) {
      this.others++;
      return;
    }
    const size = view.getUint16(ETHERNET + 2);
    const message = frame.slice(ETHERNET + 20, ETHERNET + size);
    if (message[0] === 0) {
      const sequence = message[6]! << 8 | message[7]!;
      this.echoes.push({ sequence, payload: message.slice(8) });
    } else if (message[0] === 8) {
      this.#peer = frame.slice(6, 12);
      message[0] = 0;
      message.fill(0, 2, 4);
      new DataView(message.buffer).setUint16(2, checksum(message));
      await this.#sendIp(frame.slice(ETHERNET + 12, ETHERNET + 16), message);
      this.answered++;
    } else this.others++;
  }

  async #handleArp(frame: Uint8Array, view: DataView): Promise<void> {
    const target = frame.subarray(ETHERNET + 24, ETHERNET + 28);
    if (!target.every((byte, i) => byte === this.#address[i])) return;
    this.#peer = frame.slice(ETHERNET + 8, ETHERNET + 14);
    if (view.getUint16(ETHERNET + 6) !== 1) return;
    const answer = frame.slice(ETHERNET, ETHERNET + 28);
    answer[7] = 2;
    answer.set(frame.subarray(ETHERNET + 8, ETHERNET + 18), 18);
    answer.set(this.#mac, 8);
    answer.set(this.#address, 14);
    await this.#send(this.#peer, ARP, answer);
  }

  async #sendIp(to: Uint8Array, payload: Uint8Array): Promise<void> {
    const packet = new Uint8Array(20 + payload.length);
    const view = new DataView(packet.buffer);
    view.setUint8(0, 0x45);
    view.setUint16(2, packet.length);
    view.setUint8(8, 64);
    view.setUint8(9, ICMP);
    packet.set(this.#address, 12);
    packet.set(to, 16);
    view.setUint16(10, checksum(packet.subarray(0, 20)));
    packet.set(payload, 20);
    await this.#send(this.#peer, IPV4, packet);
  }

  async #send(
    to: Uint8Array,
    type: number,
    packet: Uint8Array,
  ): Promise<void> {
    const frame = new Uint8Array(Math.max(60, ETHERNET + packet.length));
    frame.set(to);
    frame.set(this.#mac, 6);
    new DataView(frame.buffer).setUint16(12, type);
    frame.set(packet, ETHERNET);
    await this.#driver.send(frame);
  }
}

function addressOf(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! << 8 | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
