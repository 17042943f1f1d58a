/**
 * What of a card goes along with a guest that moves.
 *
 * @module
 */
import {
  decodeState,
  encodeState,
  type StateKind,
} from "../../src/device/state.ts";
import { ProtocolError } from "../../src/errors.ts";
import { MTU_MAX, MTU_MIN } from "./protocol.ts";

/** The MAC address (6 bytes), u16 MTU, u16 queue pairs, 6 bytes of 0. */
const KIND: StateKind = { name: "net", version: 1, size: 16 };

/** A card as its guest knows it. */
export interface MovedCard {
  /** Its address, 6 bytes. */
  readonly mac: Uint8Array;
  /** The largest packet, in bytes. */
  readonly mtu: number;
  /** The most queue pairs that there can be. */
  readonly pairCount: number;
}

/** The state of `card`. */
export function encodeNetState(card: MovedCard): Uint8Array {
  return encodeState(KIND, (view) => {
    card.mac.forEach((byte, i) => view.setUint8(i, byte));
    view.setUint16(6, card.mtu, true);
    view.setUint16(8, card.pairCount, true);
  });
}

/**
 * The card whose state this is, which `present` is to stand in for. Throws a
 * ProtocolError where it can't.
 */
export function decodeNetState(
  state: Uint8Array,
  present: MovedCard,
): MovedCard {
  const view = decodeState(KIND, state);
  const mac = Uint8Array.from({ length: 6 }, (_, i) => view.getUint8(i));
  const mtu = view.getUint16(6, true);
  const pairCount = view.getUint16(8, true);
  if ((mac[0]! & 1) !== 0) {
    throw new ProtocolError(
      "The MAC address of the device state is a group's, wanted a card's",
    );
  }
  if (mtu < MTU_MIN || mtu > MTU_MAX) {
    throw new ProtocolError(
      `The MTU of the device state is ${mtu}, wanted ${MTU_MIN} to ${MTU_MAX}`,
    );
  }
  if (pairCount > present.pairCount) {
    throw new ProtocolError(
      `The guest's card has ${pairCount} queue pairs, this one ` +
        `${present.pairCount}: give --queue-pairs ${pairCount}`,
    );
  }
  return { mac, mtu, pairCount };
}
