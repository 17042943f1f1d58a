/**
 * The configuration space of the network device, virtio 1.3 §5.1.4.
 *
 * @module
 */
import { ConfigSpace } from "../../src/device/config_space.ts";
import { VIRTIO_NET_S_LINK_UP } from "./protocol.ts";

const MAC_SIZE = 6;
const STATUS = 6;
const MAX_VIRTQUEUE_PAIRS = 8;
const MTU = 10;
/** Bytes up to and with `mtu`. */
const CONFIG_SIZE = 12;

/** What a driver is told of the device. */
export class NetConfig extends ConfigSpace {
  /** With the link up. */
  constructor(mac: Uint8Array, pairCount: number, mtu: number) {
    super(CONFIG_SIZE);
    this.mac = mac;
    this.linkUp = true;
    this.view.setUint16(MAX_VIRTQUEUE_PAIRS, pairCount, true);
    this.mtu = mtu;
  }

  /** The address, 6 bytes. */
  get mac(): Uint8Array {
    return this.bytes.slice(0, MAC_SIZE);
  }

  set mac(mac: Uint8Array) {
    this.bytes.set(mac.subarray(0, MAC_SIZE));
  }

  /** The most queue pairs that there can be. */
  get pairCount(): number {
    return this.view.getUint16(MAX_VIRTQUEUE_PAIRS, true);
  }

  /** Whether the link is up. */
  get linkUp(): boolean {
    return (this.view.getUint16(STATUS, true) & VIRTIO_NET_S_LINK_UP) !== 0;
  }

  set linkUp(up: boolean) {
    this.view.setUint16(STATUS, up ? VIRTIO_NET_S_LINK_UP : 0, true);
  }

  /** The largest packet, in bytes. */
  get mtu(): number {
    return this.view.getUint16(MTU, true);
  }

  set mtu(mtu: number) {
    this.view.setUint16(MTU, mtu, true);
  }
}
