/**
 * What the specification says of each request, apart from the table that the
 * session is driven by.
 *
 * @module
 */
import { u64 } from "../../../src/vhost_user/message.ts";
import {
  VHOST_USER as R,
  VHOST_USER_PROTOCOL_F as F,
} from "../../../src/vhost_user/protocol.ts";

/** What a request is to look like. */
export interface RequestRule {
  /** Bytes of payload, at least and at most. */
  readonly size: readonly [min: number, max: number];
  /** Descriptors: so many; none where bit 8 says so; one a region; any. */
  readonly fds: number | "vring" | "regions" | "any";
  /** The protocol feature that it needs, or -1. */
  readonly needs: number;
  /** It has a reply of its own. */
  readonly replies: boolean;
}

function rule(
  min: number,
  fds: RequestRule["fds"] = 0,
  needs: number = -1,
  replies = false,
  max = min,
): RequestRule {
  return { size: [min, max], fds, needs, replies };
}

const RULES = new Map<number, RequestRule>([
  [R.GET_FEATURES, rule(0, 0, -1, true)],
  [R.SET_FEATURES, rule(8)],
  [R.SET_OWNER, rule(0)],
  [R.RESET_OWNER, rule(0)],
  [R.SET_MEM_TABLE, rule(40, "regions", -1, false, 264)],
  [R.SET_LOG_BASE, rule(16, 1, F.LOG_SHMFD, true)],
  [R.SET_LOG_FD, rule(0, 1, F.LOG_SHMFD)],
  [R.SET_VRING_NUM, rule(8)],
  [R.SET_VRING_ADDR, rule(40)],
  [R.SET_VRING_BASE, rule(8)],
  [R.GET_VRING_BASE, rule(8, 0, -1, true)],
  [R.SET_VRING_KICK, rule(8, "vring")],
  [R.SET_VRING_CALL, rule(8, "vring")],
  [R.SET_VRING_ERR, rule(8, "vring")],
  [R.GET_PROTOCOL_FEATURES, rule(0, 0, -1, true)],
  [R.SET_PROTOCOL_FEATURES, rule(8)],
  [R.GET_QUEUE_NUM, rule(0, 0, F.MQ, true)],
  [R.SET_VRING_ENABLE, rule(8)],
  [R.SEND_RARP, rule(8, 0, F.RARP)],
  [R.NET_SET_MTU, rule(8, 0, F.NET_MTU)],
  [R.SET_BACKEND_REQ_FD, rule(0, 1, F.BACKEND_REQ)],
  [R.GET_CONFIG, rule(12, 0, F.CONFIG, true, 268)],
  [R.SET_CONFIG, rule(13, 0, F.CONFIG, false, 268)],
  [R.IOTLB_MSG, rule(32)],
  [R.GET_INFLIGHT_FD, rule(24, 0, F.INFLIGHT_SHMFD, true)],
  [R.SET_INFLIGHT_FD, rule(24, 1, F.INFLIGHT_SHMFD)],
  [R.VRING_KICK, rule(8, 0, F.INBAND_NOTIFICATIONS)],
  [R.RESET_DEVICE, rule(0, 0, F.RESET_DEVICE)],
  [R.GET_MAX_MEM_SLOTS, rule(0, 0, F.CONFIGURE_MEM_SLOTS, true)],
  [R.ADD_MEM_REG, rule(40, 1, F.CONFIGURE_MEM_SLOTS)],
  [R.REM_MEM_REG, rule(40, "any", F.CONFIGURE_MEM_SLOTS)],
  [R.SET_STATUS, rule(8, 0, F.STATUS)],
  [R.GET_STATUS, rule(0, 0, F.STATUS, true)],
  [R.SET_DEVICE_STATE_FD, rule(8, 1, F.DEVICE_STATE, true)],
  [R.CHECK_DEVICE_STATE, rule(0, 0, F.DEVICE_STATE, true)],
]);

/** The requests that have a rule here. */
export const RULED: readonly number[] = [...RULES.keys()];

/** The rule of `request`, or null where the model knows none. */
export function ruleOf(request: number): RequestRule | null {
  return RULES.get(request) ?? null;
}

/** Whether `request` has a reply of its own. */
export function repliesItself(request: number): boolean {
  return ruleOf(request)?.replies ?? false;
}

/** Whether `payload` says no to `request`. */
export function isRefusal(request: number, payload: Uint8Array): boolean {
  if (payload.length !== 8) return false;
  const { value } = u64.decode(payload);
  switch (request) {
    case R.SET_DEVICE_STATE_FD:
      return (value & 0xffn) !== 0n;
    case R.CHECK_DEVICE_STATE:
      return value !== 0n;
    default:
      return value === (repliesItself(request) ? 0xffff_ffff_ffff_ffffn : 1n);
  }
}
