/**
 * The devices of a command line, each loaded when it is asked for: starting one
 * takes as long as it does whatever others there are.
 *
 * @module
 */
import type { devices } from "../../devices/mod.ts";
import type { Registry } from "./command_line.ts";
import { TOOLS } from "./tools.ts";

type Devices = typeof devices;

/** What loads each of those of devices/mod.ts: one line each. */
const LOADERS: { readonly [N in keyof Devices]: () => Promise<Devices[N]> } = {
  block: async () => (await import("../../devices/block/mod.ts")).block,
  net: async () => (await import("../../devices/net/mod.ts")).net,
  rng: async () => (await import("../../devices/rng/mod.ts")).rng,
};

/** The devices that a command line which begins with `word` may speak of. */
export async function loadDevices(word = ""): Promise<Registry> {
  if (Object.hasOwn(TOOLS, word)) return {};
  if (Object.hasOwn(LOADERS, word)) {
    return { [word]: await LOADERS[word as keyof Devices]() };
  }
  return (await import("../../devices/mod.ts")).devices;
}
