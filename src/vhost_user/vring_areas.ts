/**
 * Where the three areas of a ring are: as SET_VRING_ADDR says it, and in guest
 * addresses. Failing functions throw a ProtocolError.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { VringAddress } from "./message.ts";
import { VHOST_VRING_F_LOG } from "./protocol.ts";
import type { RingKind } from "./ring_kind.ts";

/** Where the areas of a ring are, in guest addresses. */
export interface VringAreas {
  /** The descriptor table. */
  readonly descriptorArea: number;
  /** The available ring. */
  readonly driverArea: number;
  /** The used ring. */
  readonly deviceArea: number;
}

/** Who knows the memory. */
export interface AreaHost {
  /** The guest address of a range of user addresses, or -1. */
  userToGuest(userAddress: number, size: number): number;
}

/** Checks of SET_VRING_ADDR for vring `index` what needs no memory. */
export function checkAddress(index: number, address: VringAddress): void {
  const { descriptor, available, used, flags, log } = address;
  if ((flags & ~VHOST_VRING_F_LOG) !== 0) {
    throw new ProtocolError(
      `Vring ${index} has the address flags 0x${
        flags.toString(16)
      }, of which ` +
        "only bit 0 is known",
    );
  }
  if (flags !== 0 && !Number.isSafeInteger(log)) {
    throw new ProtocolError(
      `The used ring of vring ${index} is logged at 0x${log.toString(16)}: a ` +
        "guest address below 2^53 is wanted",
    );
  }
  checkAlignment(index, "descriptor table", descriptor, 16);
  checkAlignment(index, "available ring", available, 2);
  checkAlignment(index, "used ring", used, 4);
}

/**
 * The areas of vring `index` of `size` entries, each whole in the memory and
 * none on another.
 */
export function translateAreas(
  index: number,
  address: VringAddress,
  size: number,
  kind: RingKind,
  host: AreaHost,
): VringAreas {
  const { descriptor, available, used } = address;
  const descriptorSize = 16 * size;
  const availableSize = kind.driverSize(size);
  const usedSize = kind.deviceSize(size);
  checkAlignment(index, "available ring", available, kind.driverAlignment);
  const toGuest = (
    area: string,
    userAddress: number,
    bytes: number,
    alignment: number,
  ): number => {
    const guestAddress = host.userToGuest(userAddress, bytes);
    if (guestAddress < 0) {
      throw new ProtocolError(
        `The ${area} of vring ${index} (${bytes} bytes at user address ` +
          `0x${userAddress.toString(16)}) is not whole in the shared memory`,
      );
    }
    checkAlignment(index, area, guestAddress, alignment);
    return guestAddress;
  };
  const areas = {
    descriptorArea: toGuest("descriptor table", descriptor, descriptorSize, 16),
    driverArea: toGuest("available ring", available, availableSize, 2),
    deviceArea: toGuest("used ring", used, usedSize, 4),
  };
  if (
    overlap(descriptor, descriptorSize, available, availableSize) ||
    overlap(descriptor, descriptorSize, used, usedSize) ||
    overlap(available, availableSize, used, usedSize)
  ) {
    throw new ProtocolError(
      `The areas of vring ${index} overlap: each is wanted in a place of its ` +
        "own",
    );
  }
  return areas;
}

/** Where the used ring is logged, or -1. */
export function usedLogOf({ flags, log }: VringAddress): number {
  return (flags & VHOST_VRING_F_LOG) === 0 ? -1 : log;
}

/** Whether both name the same areas. */
export function sameAddress(one: VringAddress, other: VringAddress): boolean {
  return one.descriptor === other.descriptor &&
    one.available === other.available && one.used === other.used;
}

function checkAlignment(
  index: number,
  area: string,
  address: number,
  alignment: number,
): void {
  if (address % alignment === 0) return;
  throw new ProtocolError(
    `The ${area} of vring ${index} is at 0x${address.toString(16)}: a ` +
      `multiple of ${alignment} is wanted`,
  );
}

function overlap(
  a: number,
  aSize: number,
  b: number,
  bSize: number,
): boolean {
  return a < b + bSize && b < a + aSize;
}
