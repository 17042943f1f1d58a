/**
 * The devices there are: one line each.
 *
 * @module
 */
import { block } from "./block/mod.ts";
import { net } from "./net/mod.ts";
import { rng } from "./rng/mod.ts";

/** The registry, by the names on the command line. */
export const devices = { block, net, rng } as const;
