/**
 * The cards that one guest has on TAP interfaces: models of all kinds.
 *
 * @module
 */
import type { GuestCard } from "./guest.ts";
import { type NetFeature, OFFLOADS } from "./net_guest.ts";
import type { Lab } from "./net_lab.ts";
import type { NetSetup, ServedKind } from "./net_setup.ts";

/** What one card of the scenario is like. */
export interface CardModel {
  name: string;
  /** Features that QEMU keeps from the guest. */
  without: readonly NetFeature[];
  mtu?: number;
  pairCount?: number;
  pcap?: boolean;
}

/** One card of the scenario and the interface it is on; both have its name. */
export interface CardPlan extends CardModel {
  /** The model's name. */
  model: string;
  kind: ServedKind;
  /** How much is sent each way, in MiB. */
  mebibytes: number;
}

/** The MTU of the card that has another than all. */
export const JUMBO = 9000;
const MODELS: readonly CardModel[] = [
  { name: "fast", without: [] },
  { name: "plain", without: [...OFFLOADS, "mrg_rxbuf"] },
  // Chains of many pages, each large enough for any frame.
  { name: "big", without: ["mrg_rxbuf"] },
  // Frames of 9000 bytes, merged from smaller buffers.
  { name: "jumbo", without: OFFLOADS, mtu: JUMBO },
  { name: "pairs", without: [], pairCount: 2 },
  { name: "watched", without: [], pcap: true },
];
/** What is shown of each kind in any case. */
const ESSENTIAL = ["fast", "pairs", "watched"];
const SMALL_FILE_MEBIBYTES = 4;

/** The address of card `index`. */
export const macOf = (index: number) =>
  `52:54:00:77:00:${index.toString(16).padStart(2, "0")}`;

/** The cards of the scenario: all models of the first kind, and what it takes. */
export function plansOf(
  { kinds, fileMebibytes, thorough }: NetSetup,
): CardPlan[] {
  return kinds.flatMap((kind, index) => {
    const isFull = thorough || index === 0;
    return MODELS
      .filter(({ name }) => isFull || ESSENTIAL.includes(name))
      .map((model): CardPlan => ({
        ...model,
        model: model.name,
        name: index === 0 ? model.name : `${model.name}${index}`,
        kind,
        mebibytes: isFull && model.name === "fast"
          ? fileMebibytes
          : SMALL_FILE_MEBIBYTES,
      }));
  });
}

/** Makes interfaces and cards; resolves with the guest's part of them. */
export async function plug(
  lab: Lab,
  plans: readonly CardPlan[],
): Promise<GuestCard[]> {
  const cards: GuestCard[] = [];
  const devices = [];
  for (const [index, plan] of plans.entries()) {
    const { name, mtu, pairCount = 1, kind } = plan;
    await lab.addInterface(name, {
      address: `10.77.${index}.1`,
      severalQueues: pairCount > 1,
      ...(mtu === undefined ? {} : { mtu }),
    });
    const mac = macOf(index);
    devices.push({
      device: "net",
      name,
      mac,
      "ifname": name,
      "queue-pairs": pairCount,
      "data-plane": kind.plane,
      ...(plan.pcap ? { "pcap": lab.capturePath(name) } : {}),
    });
    cards.push({
      socketPath: lab.socketPath(name),
      mac,
      pairCount,
      without: plan.without,
      packed: kind.packed,
      ...(mtu === undefined ? {} : { mtu }),
    });
  }
  await lab.serve(devices);
  return cards;
}
