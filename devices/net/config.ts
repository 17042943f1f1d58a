/**
 * The configuration space of the network device, virtio 1.3 §5.1.4.
 *
 * @module
 */
import { ConfigSpace } from "../../src/device/config_space.ts";
import { VIRTIO_NET_S_LINK_UP } from "./protocol.ts";

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
    this.bytes.set(mac);
    this.linkUp = true;
    this.view.setUint16(MAX_VIRTQUEUE_PAIRS, pairCount, true);
    this.mtu = mtu;
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
