/**
 * What is offered, asked of the program itself.
 *
 * @module
 */
import { completeOptions, devices } from "../../mod.ts";
import * as net from "../../devices/net/protocol.ts";
import type { Device, OptionSpecs } from "../../src/device/mod.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { setLogLevel } from "../../src/log.ts";
import type { Carrier } from "../../src/server/command.ts";
import { DeviceBackend } from "../../src/server/device_backend.ts";
import { HANDLERS } from "../../src/vhost_user/handlers.ts";
import { SessionState } from "../../src/vhost_user/session_state.ts";

/** Bits that are there always, and those that may be. */
export interface Offer {
  /** Of every device, whatever its options. */
  readonly always: bigint;
  /** Of some device, with some options. */
  readonly ever: bigint;
}

/** What the program offers and serves. */
export interface Offered {
  /** Features of rings and the transport. */
  readonly rings: Offer;
  /** Features of disks. */
  readonly block: Offer;
  /** Features of network cards. */
  readonly net: Offer;
  /** Protocol features. */
  readonly protocol: Offer;
  /** By the number of a front-end's request: the protocol feature it needs, or -1. */
  readonly served: ReadonlyMap<number, number>;
}

/** Bits of the ring and the transport, virtio 1.3 §6. */
const RING_BITS = 0x1ff_ff00_0000n & ~((1n << 31n) | (1n << 25n));

/** A carrier that brings nothing anywhere. */
const NO_CARRIER: Carrier = {
  onMiss: null,
  ready: Promise.resolve(),
  failure: new Promise<never>(() => {}),
  send: () => Promise.resolve(0),
  inspect: () => Promise.resolve([]),
  close: () => Promise.resolve(),
};

/** Every option on that has a device or a session offer more. */
const EVERYTHING = { iommu: true, inOrder: true, inBand: true };
const AS_LITTLE = { packed: false };

/** Asks one device of each kind, plain and with all that it can have. */
export async function askOffered(): Promise<Offered> {
  setLogLevel("error");
  const disk = await Promise.all([
    open(devices.block, { "blk-null": 1 << 20 }),
    open(devices.block, { "blk-null": 1 << 20, "read-only": true }),
  ]);
  const card = await Promise.all([
    open(devices.net, { backend: "loopback" }),
    open(devices.net, { backend: "loopback", "queue-pairs": 2 }),
  ]);
  const entropy = await Promise.all([open(devices.rng, {})]);
  const all = [...disk, ...card, ...entropy];
  const sessions = all.flatMap((device) =>
    [AS_LITTLE, EVERYTHING].map((options) =>
      new SessionState(
        new DeviceBackend(device, NO_CARRIER, options),
        Reactor.main,
      )
    )
  );
  const rings = sessions.map((session) => session.offeredFeatures & RING_BITS);
  const protocol = sessions.map((session) => session.offeredProtocolFeatures);
  for (const device of all) await device.close();
  const cards = together(card.map(({ features }) => features));
  return {
    rings: together(rings),
    block: together(disk.map(({ features }) => features)),
    // What the kernel can do for a tap is not known here; the names are.
    net: { ...cards, ever: cards.ever | bitsOf(net, "VIRTIO_NET_F_") },
    protocol: together(protocol),
    served: new Map(HANDLERS.map(({ request, needs }) => [request, needs])),
  };
}

function together(offers: readonly bigint[]): Offer {
  return {
    always: offers.reduce((bits, offer) => bits & offer),
    ever: offers.reduce((bits, offer) => bits | offer),
  };
}

function bitsOf(names: Record<string, unknown>, prefix: string): bigint {
  return Object.entries(names)
    .filter(([name]) => name.startsWith(prefix))
    .reduce((bits, [, bit]) => bits | (bit as bigint), 0n);
}

function open(
  // deno-lint-ignore no-explicit-any
  descriptor: { options: OptionSpecs; open(values: any): Promise<Device> },
  values: Record<string, unknown>,
): Promise<Device> {
  return descriptor.open(completeOptions(descriptor.options, values as never));
}
