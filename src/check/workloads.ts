/**
 * The work of each kind of device.
 *
 * @module
 */
import type { Workload, Workplace } from "./workload.ts";
import { BlockWorkload } from "./workload_block.ts";
import { NetWorkload } from "./workload_net.ts";
import { RngWorkload } from "./workload_rng.ts";

/** The work of the device that is driven at `place`. */
export function workloadOf(place: Workplace): Workload {
  switch (place.run.target.device) {
    case "block":
      return new BlockWorkload(place);
    case "net":
      return new NetWorkload(place);
    default:
      return new RngWorkload(place);
  }
}
