/**
 * Checks of a front-end that sends what is no message.
 *
 * @module
 */
import { encodeMessage, header, u64 } from "../../vhost_user/message.ts";
import { VHOST_USER, VHOST_USER_VERSION } from "../../vhost_user/protocol.ts";
import { EventFd } from "../../io/event_fd.ts";
import type { Check } from "../check.ts";
import type { CheckRun } from "../check_run.ts";
import { harm, hostileCheck } from "../harm.ts";

const HEADER = "vhost-user, Header";
const EMPTY = new Uint8Array(0);

/** Sends `bytes` and, after a while, hangs up. */
function raw(
  id: string,
  title: string,
  bytes: (run: CheckRun) => Uint8Array<ArrayBuffer>,
): Check {
  return hostileCheck(id, title, HEADER, async (run) => {
    const frontend = await run.connect();
    await harm(run, frontend.sendRaw(bytes(run)));
  });
}

function headerOf(request: number, flags: number, size: number): Uint8Array {
  return header.encode({ request, flags, size });
}

export const HOSTILE_MESSAGE_CHECKS: readonly Check[] = [
  raw(
    "header-cut",
    "a header that ends after five bytes",
    () =>
      Uint8Array.from(headerOf(VHOST_USER.GET_FEATURES, 1, 0).subarray(0, 5)),
  ),
  raw(
    "payload-cut",
    "a payload that ends after three bytes",
    () =>
      encodeMessage(
        VHOST_USER.SET_FEATURES,
        VHOST_USER_VERSION,
        u64.encode({ value: 0n }),
      ).slice(0, 15),
  ),
  raw(
    "payload-4-gib",
    "a payload that is said to have 4 GiB",
    () => Uint8Array.from(headerOf(VHOST_USER.SET_FEATURES, 1, 0xffff_ffff)),
  ),
  raw(
    "version-0",
    "a message of version 0",
    () => encodeMessage(VHOST_USER.GET_FEATURES, 0, EMPTY),
  ),
  raw(
    "reply",
    "a reply to nothing",
    () => encodeMessage(VHOST_USER.GET_FEATURES, 5, new Uint8Array(8)),
  ),
  raw(
    "payload-short",
    "SET_FEATURES with four bytes",
    () => encodeMessage(VHOST_USER.SET_FEATURES, 1, new Uint8Array(4)),
  ),
  raw(
    "payload-none",
    "SET_VRING_ADDR without a payload",
    () => encodeMessage(VHOST_USER.SET_VRING_ADDR, 1, EMPTY),
  ),
  raw(
    "payload-long",
    "GET_FEATURES with 2000 bytes",
    () => encodeMessage(VHOST_USER.GET_FEATURES, 1, new Uint8Array(2000)),
  ),
  raw(
    "garbage",
    "4096 random bytes",
    ({ prng }) => prng.fill(new Uint8Array(4096)),
  ),
  raw("flood", "500 requests of which no answer is read", () => {
    const one = encodeMessage(VHOST_USER.GET_FEATURES, 1, EMPTY);
    const all = new Uint8Array(500 * one.length);
    for (let i = 0; i < 500; i++) all.set(one, i * one.length);
    return all;
  }),
  hostileCheck(
    "surplus-fds",
    "descriptors with a message that wants none",
    HEADER,
    async (run) => {
      const frontend = await run.connect();
      const fds = Array.from(
        { length: 8 },
        () => run.own(EventFd.open()).fd,
      );
      await harm(run, frontend.send(VHOST_USER.SET_OWNER, EMPTY, fds));
    },
  ),
];
