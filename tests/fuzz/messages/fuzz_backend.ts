/**
 * A back-end that serves more or less, as the shape of a batch has it, and fails
 * now and then.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import {
  protocolBits,
  VHOST_USER_PROTOCOL_F as F,
} from "../../../src/vhost_user/protocol.ts";
import { FakeBackend } from "../../session/harness.ts";
import type { SessionFacts } from "./session_model.ts";

/** What is served for every device. */
const ALWAYS: readonly number[] = [
  F.MQ,
  F.LOG_SHMFD,
  F.REPLY_ACK,
  F.BACKEND_REQ,
  F.CONFIG,
  F.BACKEND_SEND_FD,
  F.RESET_DEVICE,
  F.CONFIGURE_MEM_SLOTS,
  F.STATUS,
];
const FAILING = ["startVring", "enableVring", "setCall", "setFeatures"];
/** RING_PACKED and IN_ORDER. */
const PACKED = (1n << 34n) | (1n << 35n);
/** Bytes of its config space that may be written. */
const WRITABLE = 4;
const STATE = Uint8Array.of(7, 6, 5, 4, 3, 2, 1);

/** The largest value of each number of the shape of a back-end. */
export const BACKEND_SHAPE = {
  // As often as not it never fails.
  failing: 2 * FAILING.length,
  packed: 1,
  inBand: 1,
  inflight: 1,
  movable: 1,
  network: 1,
};

type Shape = Readonly<Record<string, number>>;

/** What a session of it is to know, and what it insists on besides. */
export class FuzzBackend extends FakeBackend {
  /** NET_SET_MTU and SEND_RARP, where it is a network card. */
  readonly setMtu?: (mtu: number) => Promise<void>;
  readonly announce?: (mac: Uint8Array) => Promise<void>;
  /** Where its state can be moved. */
  readonly saveState?: () => Promise<Uint8Array>;
  readonly loadState?: (state: Uint8Array) => Promise<void>;
  /** What the front-end is to be told. */
  readonly facts: SessionFacts;

  /** What `shape` does not name it does not serve. */
  constructor(shape: Shape) {
    super();
    const protocolFeatures = [...ALWAYS];
    if (shape.packed === 1) this.features |= PACKED;
    if (shape.inBand === 1) {
      this.inBand = true;
      protocolFeatures.push(F.INBAND_NOTIFICATIONS);
    }
    if (shape.inflight === 1) {
      this.resubmits = true;
      protocolFeatures.push(F.INFLIGHT_SHMFD);
    }
    if (shape.movable === 1) {
      this.saveState = () => {
        assertEquals(this.rings.size, 0, "rings run while the state is saved");
        return Promise.resolve(STATE);
      };
      this.loadState = (state) => {
        assertEquals(this.rings.size, 0, "rings run while a state is loaded");
        return state.join() === STATE.join()
          ? Promise.resolve()
          : Promise.reject(new Error("It is another device's state"));
      };
      protocolFeatures.push(F.DEVICE_STATE);
    }
    if (shape.network === 1) {
      this.setMtu = (mtu) => {
        assert(mtu >= 68 && mtu <= 65535, `an MTU of ${mtu}`);
        return Promise.resolve();
      };
      this.announce = (mac) => {
        assertEquals(mac.length, 6);
        return Promise.resolve();
      };
      protocolFeatures.push(F.NET_MTU, F.RARP);
    }
    const failing = FAILING[shape.failing! - 1];
    if (failing !== undefined) this.failing.add(failing);
    this.facts = {
      features: this.features,
      protocolFeatures: protocolBits(protocolFeatures),
      queueCount: this.queueCount,
      queueSizeMax: this.queueSizeMax,
      config: this.config,
      writable: WRITABLE,
    };
  }
}
