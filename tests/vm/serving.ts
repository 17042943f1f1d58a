/**
 * One process that serves the devices of a test's guests, as
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

/**
 * Starts a process for `devices`, their sockets in `directory`, behind the
 * words of `prefix`, as `ip netns exec NAME`. Resolves once the last listens.
 */
export async function startServing(
  directory: string,
  devices: readonly DeviceEntry[],
  prefix: readonly string[] = [],
): Promise<BackEnd> {
  const config = `${directory}/ringside.json`;
  const entries = devices.map((device) => ({
    ...device,
    "socket-path": socketPathOf(directory, device.name),
  }));
  await Deno.writeTextFile(config, JSON.stringify({ devices: entries }));
  const command = [
    ...prefix,
    ...[Deno.execPath(), "run", "--no-prompt", "--allow-ffi", "--allow-read"],
    ...[MAIN, "serve", "--config", config],
  ];
  const kind = {
    name: "ringside serve",
    hasSerial: true,
    hasEngines: true,
    command: () => command,
  };
  const last = socketPathOf(directory, devices.at(-1)!.name);
  return await BackEnd.start(kind, { socketPath: last, file: "" });
}
