/**
 * Every check there is, in the order in which they are run.
 *
 * @module
 */
import { BLOCK_CONFIG_CHECKS } from "./cases/block_config.ts";
import { BLOCK_REQUEST_CHECKS } from "./cases/block_requests.ts";
import { BLOCK_WRITE_CHECKS } from "./cases/block_writes.ts";
import { CHAIN_CHECKS } from "./cases/chains.ts";
import { CONFIG_CHECKS } from "./cases/config.ts";
import { HOSTILE_CHAIN_CHECKS } from "./cases/hostile_chains.ts";
import { HOSTILE_MESSAGE_CHECKS } from "./cases/hostile_messages.ts";
import { HOSTILE_RING_CHECKS } from "./cases/hostile_rings.ts";
import { HOSTILE_SETUP_CHECKS } from "./cases/hostile_setup.ts";
import { MEMORY_CHECKS } from "./cases/memory.ts";
import { NEGOTIATION_CHECKS } from "./cases/negotiation.ts";
import { NET_CHECKS } from "./cases/net.ts";
import { NET_LOOPBACK_CHECKS } from "./cases/net_loopback.ts";
import { NOTIFICATION_CHECKS } from "./cases/notification.ts";
import { REPLY_CHECKS } from "./cases/replies.ts";
import { RESET_CHECKS } from "./cases/reset.ts";
import { RING_SIZE_CHECKS } from "./cases/ring_sizes.ts";
import { RING_STATE_CHECKS } from "./cases/ring_states.ts";
import { RING_CHECKS } from "./cases/rings.ts";
import { RNG_CHECKS } from "./cases/rng.ts";
import type { Check } from "./check.ts";

/** All of them. */
export const ALL_CHECKS: readonly Check[] = [
  ...NEGOTIATION_CHECKS,
  ...REPLY_CHECKS,
  ...CONFIG_CHECKS,
  ...MEMORY_CHECKS,
  ...RING_CHECKS,
  ...RING_STATE_CHECKS,
  ...RING_SIZE_CHECKS,
  ...CHAIN_CHECKS,
  ...NOTIFICATION_CHECKS,
  ...BLOCK_CONFIG_CHECKS,
  ...BLOCK_REQUEST_CHECKS,
  ...BLOCK_WRITE_CHECKS,
  ...NET_CHECKS,
  ...NET_LOOPBACK_CHECKS,
  ...RNG_CHECKS,
  ...RESET_CHECKS,
  ...HOSTILE_CHAIN_CHECKS,
  ...HOSTILE_RING_CHECKS,
  ...HOSTILE_SETUP_CHECKS,
  ...HOSTILE_MESSAGE_CHECKS,
];
