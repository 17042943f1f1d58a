/**
 * A guest's cards as its own tools see them.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Guest } from "./guest.ts";

/** Feature bits of virtio 1.3 §5.1.3 by the names of QEMU's properties. */
export const NET_FEATURES = {
  csum: 0,
  guest_csum: 1,
  guest_tso4: 7,
  guest_tso6: 8,
  guest_ecn: 9,
  guest_ufo: 10,
  host_tso4: 11,
  host_tso6: 12,
  host_ecn: 13,
  host_ufo: 14,
  mrg_rxbuf: 15,
} as const;

/** Name of a feature. */
export type NetFeature = keyof typeof NET_FEATURES;

/** All of them that change what a frame may be; the rest is `mrg_rxbuf`. */
export const OFFLOADS: readonly NetFeature[] =
  (Object.keys(NET_FEATURES) as NetFeature[]).filter((name) =>
    name !== "mrg_rxbuf"
  );

/**
 * Lines of `ethtool -k`, and what has to be negotiated for them to be on. Not
 * `rx-checksumming`: a driver of 6.1 says on, whatever the device.
 */
const ETHTOOL: readonly (readonly [line: string, any: NetFeature[]])[] = [
  ["tx-checksum-ip-generic", ["csum"]],
  ["tx-tcp-segmentation", ["host_tso4"]],
  ["tx-tcp-ecn-segmentation", ["host_ecn"]],
  ["tx-tcp6-segmentation", ["host_tso6"]],
  // A driver of 6.1 calls that what GUEST_TSO4 and GUEST_TSO6 bring.
  ["rx-gro-hw", ["guest_tso4", "guest_tso6"]],
];

/** Names the interface of `mac` `name` and brings it up with `address`/24. */
export async function bringUp(
  guest: Guest,
  mac: string,
  name: string,
  address: string,
): Promise<void> {
  await guest.output(`
    for entry in /sys/class/net/*; do
      [ "$(cat $entry/address)" = ${mac} ] && found=\${entry##*/}
    done
    [ -n "$found" ] || exit 1
    [ "$found" = ${name} ] || ip link set dev $found name ${name} || exit 1
    ip addr replace ${address}/24 dev ${name}
    ip link set ${name} up
  `);
}

/** The features that guest and device agreed on for interface `name`. */
export async function negotiated(
  guest: Guest,
  name: string,
): Promise<Set<NetFeature>> {
  const bits = await guest.output(
    `cat /sys/class/net/${name}/device/features`,
  );
  const names = Object.keys(NET_FEATURES) as NetFeature[];
  return new Set(names.filter((name) => bits[NET_FEATURES[name]] === "1"));
}

/** Rejects unless `ethtool -k` of `name` says what was negotiated; its lines. */
export async function checkEthtool(
  guest: Guest,
  name: string,
): Promise<string> {
  const features = await negotiated(guest, name);
  const text = await guest.output(`ethtool -k ${name}`);
  const seen: string[] = [];
  for (const [line, any] of ETHTOOL) {
    const state = text.split("\n").map((each) => each.trim())
      .find((each) => each.startsWith(`${line}: `))?.split(" ")[1];
    assert(state !== undefined, `No ${line} in\n${text}`);
    const wanted = any.some((feature) => features.has(feature)) ? "on" : "off";
    assertEquals(state, wanted, `${line} of\n${text}`);
    seen.push(`${line} ${state}`);
  }
  return seen.join(", ");
}
