/**
 * Every check there is, in the order in which they are run.
 *
 * @module
 */
import { CHAIN_CHECKS } from "./cases/chains.ts";
import { MEMORY_CHECKS } from "./cases/memory.ts";
import { NOTIFICATION_CHECKS } from "./cases/notification.ts";
import { RING_SIZE_CHECKS } from "./cases/ring_sizes.ts";
import { RING_STATE_CHECKS } from "./cases/ring_states.ts";
import { RING_CHECKS } from "./cases/rings.ts";
import type { Check } from "./check.ts";

/** All of them. */
export const ALL_CHECKS: readonly Check[] = [
  ...MEMORY_CHECKS,
  ...RING_CHECKS,
  ...RING_STATE_CHECKS,
  ...RING_SIZE_CHECKS,
  ...CHAIN_CHECKS,
  ...NOTIFICATION_CHECKS,
];
