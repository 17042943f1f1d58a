/**
 * The options that every device has on the command line.
 *
 * @module
 */
import type { OptionSpecs, OptionValues } from "../device/options.ts";
import { UsageError } from "../errors.ts";

/** The options of every device. */
export const COMMON_OPTIONS = {
  "socket-path": {
    type: "string",
    placeholder: "PATH",
    describe: "Listen on this Unix socket, for front-end after front-end",
  },
  "connect": {
    type: "boolean",
    describe: "Connect to --socket-path, where the front-end listens, again " +
      "and again, instead of listening there",
  },
  "fd": {
    type: "number",
    placeholder: "N",
    max: 2 ** 31 - 1,
    describe: "Instead of --socket-path: a descriptor that was inherited, " +
      "listening or connected",
  },
  "data-plane": {
    type: "choice",
    choices: ["auto", "inline", "worker"],
    default: "auto",
    describe: "Where the virtqueues run: on the main thread or on workers; " +
      "auto is worker with --allow-read, else inline",
  },
  "queue-threads": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 256,
    default: 1,
    describe: "How many workers the virtqueues are spread over",
  },
  "iommu": {
    type: "boolean",
    describe: "Serve a guest with a virtual IOMMU: the device reaches only " +
      "what that maps (QEMU: iommu_platform=on,ats=on)",
  },
  "packed": {
    type: "choice",
    choices: ["on", "off"],
    default: "on",
    describe: "Offer packed virtqueues; drivers use them where the front-end " +
      "asks too (QEMU: packed=on)",
  },
  "in-order": {
    type: "boolean",
    describe: "Offer to give requests back in their order, for drivers that " +
      "are faster then (DPDK); a slow request holds back those after it",
  },
  "in-band": {
    type: "boolean",
    describe: "Offer kicks and calls as messages, for simulations (User Mode " +
      "Linux); not for QEMU, which accepts them unread",
  },
  "control-path": {
    type: "string",
    placeholder: "PATH",
    describe: "Listen on this Unix socket for ringside ctl of the same user",
  },
  "log-level": {
    type: "choice",
    choices: ["error", "warn", "info", "debug"],
    default: "info",
    describe: "What goes to standard error",
  },
  "print-capabilities": {
    type: "boolean",
    describe: "Print what the device can do, as JSON, and exit",
  },
  "version": { type: "boolean", describe: "Print the version and exit" },
  "help": { type: "boolean", describe: "Print this help and exit" },
} as const satisfies OptionSpecs;

/** The values of the options of every device. */
export type CommonValues = OptionValues<typeof COMMON_OPTIONS>;

/** The options that say how one device is served, be it one of several. */
export const SERVER_OPTIONS = {
  "socket-path": COMMON_OPTIONS["socket-path"],
  "connect": COMMON_OPTIONS["connect"],
  "fd": COMMON_OPTIONS["fd"],
  "data-plane": COMMON_OPTIONS["data-plane"],
  "queue-threads": COMMON_OPTIONS["queue-threads"],
  "iommu": COMMON_OPTIONS["iommu"],
  "packed": COMMON_OPTIONS["packed"],
  "in-order": COMMON_OPTIONS["in-order"],
  "in-band": COMMON_OPTIONS["in-band"],
} as const satisfies OptionSpecs;

/** The values of the options of one server. */
export type ServerValues = OptionValues<typeof SERVER_OPTIONS>;

/** The longest path of a Unix socket: `sun_path` less its final zero, in bytes. */
const SOCKET_PATH_MAX = 107;

/**
 * Checks what no single option can: that they fit together. Messages call an
 * option what `label` makes of its name.
 *
 * @throws {UsageError} what is, what was wanted
 */
export function checkServer(
  values: ServerValues,
  label: (name: string) => string = (name) => `--${name}`,
): void {
  const { "socket-path": path, fd } = values;
  if ((path === undefined) === (fd === undefined)) {
    throw new UsageError(
      path === undefined
        ? `There is no socket: give ${label("socket-path")} or ${label("fd")}`
        : `There are ${label("socket-path")} and ${label("fd")}: ` +
          "leave one of them out",
    );
  }
  if (values.connect && path === undefined) {
    throw new UsageError(
      `There are ${label("connect")} and ${label("fd")}: give ` +
        `${label("socket-path")} instead of ${label("fd")}`,
    );
  }
  const size = new TextEncoder().encode(path ?? "").length;
  if (size > SOCKET_PATH_MAX) {
    throw new UsageError(
      `${
        label("socket-path")
      } has ${size} bytes, wanted ${SOCKET_PATH_MAX} at most: ` +
        "use a shorter path, or one that is relative to the working directory",
    );
  }
  if (values["queue-threads"] > 1 && values["data-plane"] === "inline") {
    throw new UsageError(
      `${label("queue-threads")} is ${values["queue-threads"]} with ` +
        `${label("data-plane")} inline, which has one thread: ` +
        "leave one of them out",
    );
  }
}
