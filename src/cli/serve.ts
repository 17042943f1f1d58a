/**
 * Serves devices until a signal comes or their front-ends leave.
 *
 * @module
 */
import type { DeviceDescriptor } from "../device/device.ts";
import type { OptionSpecs, OptionValues } from "../device/options.ts";
import { SystemError, UsageError } from "../errors.ts";
import { hasRoom, STDERR } from "../io/fd.ts";
import { log, type LogLevel, loseLinesUnless, setLogLevel } from "../log.ts";
import { type ServeOptions, Server } from "../server/server.ts";
import type { ServerValues } from "./common_options.ts";
import type { ControlServer } from "./control_server.ts";
import { checkDescriptors } from "./descriptors.ts";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
/** Supervisors send a signal to a process and to its group: that is one. */
const ONE_SIGNAL_MS = 500;

/** A device that is to be served, and how. */
export interface ServedDevice {
  /** In the log. */
  readonly name: string;
  /** What messages about it begin with: where it stands in a file, or "". */
  readonly origin: string;
  /** Of which kind it is. */
  readonly descriptor: DeviceDescriptor;
  /** The values of its own options. */
  readonly options: OptionValues<OptionSpecs>;
  /** How it is served. */
  readonly server: ServerValues;
}

/**
 * Opens `devices` and serves each on its socket. Resolves when they stopped
 * cleanly; rejects when one of them can't be opened or fails later, after the
 * others were stopped. With a `controlPath` they can be asked there.
 */
export async function serveDevices(
  devices: readonly ServedDevice[],
  logLevel: LogLevel,
  controlPath?: string,
): Promise<void> {
  setLogLevel(logLevel);
  loseLinesUnless(() => hasRoom(STDERR));
  // Before anybody can connect: from then on a signal means a clean end.
  const stopping = Promise.withResolvers<void>();
  let askedAt: number | null = null;
  const stop = (): void => {
    const now = performance.now();
    if (askedAt === null) {
      askedAt = now;
      stopping.resolve();
    } else if (now - askedAt > ONE_SIGNAL_MS) {
      log.warn("A second signal: leaving without draining the virtqueues");
      Deno.exit(1);
    }
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  try {
    const servers = await openServers(devices);
    using _control = await openControl(controlPath, devices, servers);
    await runServers(servers, devices, stopping);
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
  }
}

/** All of them, or none: then the error names the one that failed. */
async function openServers(
  devices: readonly ServedDevice[],
): Promise<Server[]> {
  const servers: Server[] = [];
  await checkDescriptors(devices.map(({ server }) => server));
  try {
    for (const device of devices) {
      servers.push(await named(device, listen(device)));
    }
    // Their threads start beside each other.
    for (const [i, device] of devices.entries()) {
      await named(device, servers[i]!.ready);
    }
  } catch (error) {
    await Promise.allSettled(servers.map((opened) => opened.close()));
    throw error;
  }
  return servers;
}

async function listen(device: ServedDevice): Promise<Server> {
  const { name, descriptor, options, server } = device;
  await checkWorkers(server);
  const opened = await descriptor.open(options);
  return await Server.listen(name, opened, serveOptions(server));
}

/** `work` for a device, which an error of the operator's names. */
async function named<T>(
  { origin }: ServedDevice,
  work: Promise<T>,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof UsageError || error instanceof SystemError) {
      error.message = origin + error.message;
    }
    throw error;
  }
}

/** Opens the control socket, or closes the servers. */
async function openControl(
  path: string | undefined,
  devices: readonly ServedDevice[],
  servers: readonly Server[],
): Promise<ControlServer | null> {
  if (path === undefined) return null;
  try {
    const { ControlServer } = await import("./control_server.ts");
    return new ControlServer(
      path,
      devices.map(({ name, descriptor }, i) => ({
        name,
        device: descriptor.name,
        server: servers[i]!,
      })),
    );
  } catch (error) {
    await Promise.allSettled(servers.map((server) => server.close()));
    throw error;
  }
}

/** Runs `servers` until all have ended; one that fails ends the others. */
async function runServers(
  servers: readonly Server[],
  devices: readonly ServedDevice[],
  stopping: PromiseWithResolvers<void>,
): Promise<void> {
  const stopped = stopping.promise.then(() =>
    Promise.all(servers.map((server) => server.stop()))
  );
  const running = servers.map(async (server, i) => {
    try {
      await server.run();
    } catch (error) {
      if (devices.length > 1) {
        log.error(`${devices[i]!.name} failed: ending the other devices too`);
      }
      stopping.resolve();
      throw error;
    }
  });
  const all = Promise.allSettled(running);
  // A stop that fails is the end, whatever still runs.
  await Promise.race([all, stopped.then(() => all)]);
  await Promise.all(running);
}

/** A worker reads its modules; without permission Deno only shows a stack. */
async function checkWorkers(options: ServerValues): Promise<void> {
  const { "data-plane": plane, "queue-threads": threads } = options;
  if (plane !== "worker" && threads === 1) return;
  // Where the modules come from the network, no file is read.
  if (import.meta.filename === undefined) return;
  const { state } = await Deno.permissions.query({
    name: "read",
    path: import.meta.filename,
  });
  if (state === "granted") return;
  const what = plane === "worker"
    ? "--data-plane worker"
    : `--queue-threads ${threads}`;
  throw new UsageError(
    `${what} needs workers, and they may not read their modules: run with ` +
      "deno run --allow-ffi --allow-read, or use --data-plane inline",
  );
}

function serveOptions(values: ServerValues): ServeOptions {
  const options: ServeOptions = {
    queueThreads: values["queue-threads"],
    dataPlane: values["data-plane"],
    iommu: values.iommu,
    packed: values.packed === "on",
    inOrder: values["in-order"],
    inBand: values["in-band"],
    connect: values.connect,
  };
  if (values.fd !== undefined) options.fd = values.fd;
  if (values["socket-path"] !== undefined) {
    options.socketPath = values["socket-path"];
  }
  return options;
}
