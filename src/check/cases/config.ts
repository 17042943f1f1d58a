/**
 * Checks of the config space as it is told.
 *
 * @module
 */
import { encodeConfig } from "../../vhost_user/message.ts";
import {
  VHOST_USER,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
} from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expect, expectBytes } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";

const GET = "vhost-user, GET_CONFIG";
const SET = "vhost-user, SET_CONFIG";

/** A guest of a back-end that has a config space. */
async function configured(run: CheckRun): Promise<Guest> {
  run.needsProtocol(VHOST_USER_PROTOCOL_F.CONFIG, "CONFIG");
  if (run.target.facts.config.length === 0) {
    run.skip("there is no config space");
  }
  return await run.guest({ start: false });
}

export const CONFIG_CHECKS: readonly Check[] = [
  {
    id: "config/stable",
    title: "the config space is the same on the next connection",
    section: GET,
    level: "MUST",
    run: async (run) => {
      const { frontend } = await configured(run);
      const { config } = run.target.facts;
      const again = await frontend.getConfig(0, config.length);
      expectBytes(again, config, "the config space");
    },
  },
  {
    id: "config/before-features",
    title: "the config space is told before SET_FEATURES",
    section: GET,
    level: "MUST",
    run: async (run) => {
      run.hangUp(await configured(run));
      const frontend = await run.connect();
      await frontend.getFeatures();
      const offered = await frontend.getProtocolFeatures();
      await frontend.setProtocolFeatures(offered & (1n << 9n | 1n << 3n));
      const { config } = run.target.facts;
      const bytes = await frontend.getConfig(0, config.length);
      expectBytes(bytes, config, "the config space");
    },
  },
  {
    id: "config/in-parts",
    title: "each part of the config space is that of the whole",
    section: GET,
    level: "MUST",
    run: async (run) => {
      const { frontend } = await configured(run);
      const { config } = run.target.facts;
      for (const size of [1, 2, 4, 8]) {
        for (let at = 0; at + size <= config.length; at += size) {
          const part = await frontend.getConfig(at, size);
          const wanted = config.subarray(at, at + size);
          expectBytes(part, wanted, `${size} bytes of config at ${at}`);
        }
      }
    },
  },
  {
    id: "config/beyond",
    title: "what is beyond the config space is refused, or reads as zeros",
    section: GET,
    level: "SHOULD",
    hostile: true,
    run: async (run) => {
      const { frontend } = await configured(run);
      for (const offset of [0x1000, 0x7fff_ffff, 0xffff_fffc]) {
        const bytes = await beyond(frontend.getConfig(offset, 4));
        expect(
          bytes.every((byte) => byte === 0),
          () => `Bytes at ${offset} of the config space are ${bytes}`,
        );
      }
    },
  },
  {
    id: "config/empty",
    title: "GET_CONFIG of no bytes does no harm",
    section: GET,
    level: "SHOULD",
    hostile: true,
    run: async (run) => {
      const { frontend } = await configured(run);
      await beyond(frontend.getConfig(0, 0));
    },
  },
  {
    id: "config/read-only",
    title: "what only the device may write stays as it is",
    section: SET,
    level: "MUST",
    hostile: true,
    run: async (run) => {
      const { frontend } = await configured(run);
      const { config } = run.target.facts;
      const payload = encodeConfig(0, 0, new Uint8Array(4).fill(0xff));
      await frontend.send(VHOST_USER.SET_CONFIG, payload);
      run.hangUp(frontend);
      const next = await run.guest({ start: false });
      const again = await next.frontend.getConfig(0, config.length);
      expectBytes(again, config, "the config space after SET_CONFIG");
    },
  },
  {
    id: "config/write-beyond",
    title: "SET_CONFIG beyond the config space does no harm",
    section: SET,
    level: "MUST",
    hostile: true,
    run: async (run) => {
      const { frontend } = await configured(run);
      const flags = run.target.offersProtocol(VHOST_USER_PROTOCOL_F.REPLY_ACK)
        ? VHOST_USER_NEED_REPLY_MASK
        : 0;
      const payload = encodeConfig(0xffff_fff0, 0, new Uint8Array(32).fill(1));
      await frontend.send(VHOST_USER.SET_CONFIG, payload, [], flags);
      await beyond(frontend.getConfig(0, 1));
    },
  },
];

/** What is answered, or nothing where that is a refusal. */
async function beyond(answer: Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await answer;
  } catch {
    return new Uint8Array(0);
  }
}
