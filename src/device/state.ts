/**
 * What a device says of itself to another back-end that is to go on where it
 * was, see {@linkcode Device.saveState}.
 *
 * 32 bytes go before the device's own, all little-endian: "ringside" (8 bytes),
 * the version of these (16 bits), the version of the device's own (16 bits), how
 * many those are (32 bits) and the kind of device (16 bytes, zero-padded).
 *
 * @module
 */
import { assert } from "../assert.ts";
import { ProtocolError } from "../errors.ts";

const MAGIC: Uint8Array = new TextEncoder().encode("ringside");
const ENVELOPE_VERSION = 1;
const ENVELOPE_SIZE = 32;
const KIND_AT = 16;
const KIND_SIZE = 16;

/** What a state is a state of. */
export interface StateKind {
  /** The kind of device, up to 16 ASCII characters, as `block`. */
  readonly name: string;
  /** Of the bytes that follow: others than this one are refused. */
  readonly version: number;
  /** How many these are. */
  readonly size: number;
}

/**
 * The state of a device of `kind` whose bytes `write` fills in.
 *
 * @example There and back
 * ```ts
 * import { decodeState, encodeState } from "@ringside/ringside/device";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const kind = { name: "lamp", version: 1, size: 1 };
 * const state = encodeState(kind, (view) => view.setUint8(0, 40));
 * assertEquals(decodeState(kind, state).getUint8(0), 40);
 * assertThrows(() => decodeState({ ...kind, name: "fan" }, state));
 * ```
 */
export function encodeState(
  kind: StateKind,
  write: (view: DataView<ArrayBuffer>) => void,
): Uint8Array<ArrayBuffer> {
  const { name, version, size } = kind;
  assert(name.length <= KIND_SIZE, `a kind of device called ${name}`);
  const bytes = new Uint8Array(ENVELOPE_SIZE + size);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint16(8, ENVELOPE_VERSION, true);
  view.setUint16(10, version, true);
  view.setUint32(12, size, true);
  bytes.set(new TextEncoder().encode(name), KIND_AT);
  write(new DataView(bytes.buffer, ENVELOPE_SIZE, size));
  return bytes;
}

/**
 * The bytes of `kind` that `encodeState` made. Throws a ProtocolError where
 * `state` is none, another device's, of another version or not whole.
 *
 * @example A state that was cut short
 * ```ts
 * import { decodeState, encodeState } from "@ringside/ringside/device";
 * import { ProtocolError } from "@ringside/ringside/vhost-user";
 * import { assertThrows } from "@std/assert";
 *
 * const kind = { name: "lamp", version: 1, size: 4 };
 * const state = encodeState(kind, (view) => view.setUint32(0, 40));
 * assertThrows(() => decodeState(kind, state.subarray(0, -1)), ProtocolError);
 * ```
 */
export function decodeState(kind: StateKind, state: Uint8Array): DataView {
  const view = new DataView(state.buffer, state.byteOffset, state.length);
  if (
    state.length < ENVELOPE_SIZE ||
    MAGIC.some((byte, i) => state[i] !== byte) ||
    view.getUint16(8, true) !== ENVELOPE_VERSION
  ) {
    throw new ProtocolError(
      `The device state (${state.length} bytes) is not one of ringside: load ` +
        "what was saved, whole and unchanged",
    );
  }
  const name = kind.name.padEnd(KIND_SIZE, "\0");
  if (textIn(state) !== name) {
    throw new ProtocolError(
      `The device state is that of a ${
        printable(state)
      } device, wanted a ${kind.name} ` +
        "device's",
    );
  }
  const version = view.getUint16(10, true);
  if (version !== kind.version) {
    throw new ProtocolError(
      `The device state is of version ${version}, wanted ${kind.version}: use ` +
        "the same release on both sides",
    );
  }
  const size = view.getUint32(12, true);
  if (size !== kind.size || state.length !== ENVELOPE_SIZE + size) {
    throw new ProtocolError(
      `The device state has ${state.length} bytes, wanted ` +
        `${ENVELOPE_SIZE + kind.size}: it is not whole`,
    );
  }
  return new DataView(state.buffer, state.byteOffset + ENVELOPE_SIZE, size);
}

function textIn(state: Uint8Array): string {
  const bytes = state.subarray(KIND_AT, KIND_AT + KIND_SIZE);
  return String.fromCharCode(...bytes);
}

/** For a message: whoever made it up wrote anything there. */
function printable(state: Uint8Array): string {
  const [name] = textIn(state).split("\0");
  return name!.replace(/[^\x20-\x7e]/g, "?");
}
