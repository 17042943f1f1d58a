/**
 * One process that serves several devices of a test, as
 * `ringside serve --config` does.
 *
 * @module
 */
import { BackEnd } from "./back_end.ts";
import { findKernel, findProgram } from "./initramfs.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** A device as the file has it, without its socket. */
export type DeviceEntry = Record<string, string | number | boolean> & {
  device: string;
  name: string;
};

/** What this machine lacks to run a guest with cards, one name each. */
export function missingCardTools(): string[] {
  const programs = [
    ...["qemu-system-x86_64", "busybox", "dash", "ldd"],
    ...["ip", "ethtool", "iperf3", "rngtest", "tshark", "capinfos"],
  ];
  const missing = programs.filter((name) => findProgram(name) === null);
  if (findKernel() === null) missing.push("linux-image-cloud-amd64");
  return missing;
}

/** Where device `name` of the process in `directory` listens. */
export function socketPathOf(directory: string, name: string): string {
  return `${directory}/${name}.sock`;
}

/** Starts a process for `devices`, which is that of `startServed`. */
export function startServing(
  directory: string,
  devices: readonly DeviceEntry[],
  prefix: readonly string[] = [],
): Promise<BackEnd> {
  writeServed(directory, devices);
  return startServed(directory, devices, prefix);
}

/**
 * Writes the file for `devices`, their sockets in `directory`; its path. What a
 * device does not say is as in `defaults`.
 */
export function writeServed(
  directory: string,
  devices: readonly DeviceEntry[],
  defaults: Readonly<Record<string, string>> = {},
): string {
  const entries = devices.map((device) => ({
    "socket-path": socketPathOf(directory, device.name),
    ...defaults,
    ...device,
  }));
  const text = JSON.stringify({ devices: entries }, null, 2);
  const path = `${directory}/ringside.json`;
  Deno.writeTextFileSync(path, `// Made by a test\n${text}`);
  return path;
}

/** The command that serves what the file in `directory` names. */
export function servedCommand(directory: string): string[] {
  return [
    ...[Deno.execPath(), "run", "--no-prompt", "--allow-ffi", "--allow-read"],
    ...[MAIN, "serve", "--config", `${directory}/ringside.json`],
  ];
}

/**
 * Starts a process for `devices`, which the file in `directory` names, behind
 * the words of `prefix`, as `ip netns exec NAME`. Resolves once all listen.
 */
export function startServed(
  directory: string,
  devices: readonly DeviceEntry[],
  prefix: readonly string[] = [],
): Promise<BackEnd> {
  const kind = {
    name: "ringside serve",
    hasSerial: true,
    hasEngines: true,
    saysListens: true,
    deviceCount: devices.length,
    command: () => [...prefix, ...servedCommand(directory)],
  };
  const socketPath = socketPathOf(directory, devices.at(-1)!.name);
  return BackEnd.start(kind, { socketPath, file: "" });
}
