/**
 * What is done over the card of a guest, and measured.
 *
 * @module
 */
import { iperf } from "../../tests/vm/net_traffic.ts";
import { median } from "../figures.ts";
import type { Rig } from "./rig.ts";

const PINGS = 100;
const PING_S = 0.02;
const LOOPBACK = "127.0.0.1";

/** A run of a work. */
export type GuestSample = Readonly<
  Record<"result" | "qemu" | "backEnd", number>
>;

/** A work. */
export interface GuestWork {
  /** As in the tables. */
  readonly name: string;
  /** What its result is in, and digits behind the point. */
  readonly unit: readonly [name: string, digits: number];
  /** The least ratio to the peer; null where nothing is wanted. */
  readonly wanted: number | null;
  /** Does it; the result. */
  run(rig: Rig, seconds: number): Promise<number>;
}

/** Microseconds from the host to the guest and back: the median. */
async function pings({ host, guest }: Rig): Promise<number> {
  const text = await host.shell.output(
    `busybox ping -c ${PINGS} -i ${PING_S} ${guest.address}`,
  );
  const times = [...text.matchAll(/ time=([\d.]+) ms/g)];
  return median(times.map(([, ms]) => Number(ms) * 1000));
}

/** All works, in the order of the tables. */
export const WORKS: readonly GuestWork[] = [
  {
    name: "TCP from the guest",
    unit: ["Mbit/s", 0],
    wanted: 1,
    run: async ({ guest, host }, seconds) =>
      await iperf(guest, host, { seconds }) / 1e6,
  },
  {
    name: "TCP to the guest",
    unit: ["Mbit/s", 0],
    wanted: 1,
    run: async ({ guest, host }, seconds) =>
      await iperf(guest, host, { seconds, more: "-R" }) / 1e6,
  },
  {
    // What the emulated guest does where no card is in the way.
    name: "TCP within the guest",
    unit: ["Mbit/s", 0],
    wanted: null,
    run: async ({ guest }, seconds) => {
      await guest.shell.output("ip link set lo up");
      return await iperf(guest, { ...guest, address: LOOPBACK }, { seconds }) /
        1e6;
    },
  },
  {
    name: "ping from the host",
    unit: ["us", 0],
    wanted: null,
    run: pings,
  },
];

/** One run of `work`. */
export async function measure(
  work: GuestWork,
  rig: Rig,
  seconds: number,
): Promise<GuestSample> {
  const [result, busy] = await rig.watch(() => work.run(rig, seconds));
  return { result, ...busy };
}
