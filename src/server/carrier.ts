/**
 * The carrier of a device: which there is to be, and how it begins and ends.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import type { Reactor } from "../io/reactor.ts";
import { log } from "../log.ts";
import type { Carrier } from "./command.ts";

/** Where the rings run. `auto`: on workers where modules may be read. */
export type DataPlaneKind = "auto" | "inline" | "worker";

/** How the rings of a device are served. */
export interface CarrierOptions {
  /** Threads for the rings, at least 1; more than one needs workers. */
  queueThreads?: number;
  /** Where the rings run. */
  dataPlane?: DataPlaneKind;
}

/**
 * Starts that of `device`, which may not be ready yet. Only the plane that is
 * chosen is loaded: where there are workers, the rings are theirs alone.
 *
 * @throws {SystemError} It can't be had.
 */
export async function startCarrier(
  device: Device,
  options: CarrierOptions,
  reactor: Reactor,
): Promise<Carrier> {
  const ringCount = device.queueCount;
  const useUring = device.usesUring ?? true;
  if (await useWorkers(options.dataPlane ?? "auto")) {
    const { WorkerPlane } = await import("./worker_plane.ts");
    return new WorkerPlane(
      options.queueThreads ?? 1,
      device.data.url,
      { seed: device.seed, ringCount, useUring },
      device.ringsTogether,
    );
  }
  const [
    { DataPlane },
    { InlinePlane },
    { openUring },
    { openVirtqueue },
  ] = await Promise.all([
    import("./data_plane.ts"),
    import("./inline_plane.ts"),
    import("./open_uring.ts"),
    import("../virtqueue/open.ts"),
  ]);
  const uring = useUring ? openUring(false) : null;
  const plane = new DataPlane(
    device.data.open,
    device.seed,
    uring,
    ringCount,
    openVirtqueue,
  );
  return new InlinePlane(plane, reactor);
}

/** Has the rings of `carrier` drained, where they can be, and ends it. */
export async function closeCarrier(
  name: string,
  carrier: Carrier,
): Promise<void> {
  try {
    await carrier.send({ kind: "close" });
  } catch (error) {
    // It failed before, and whoever awaits `failure` knows.
    log.debug(`${name}: the data plane is gone: ${error}`);
  }
  await carrier.close();
}

async function useWorkers(kind: DataPlaneKind): Promise<boolean> {
  if (kind !== "auto") return kind === "worker";
  const read = await Deno.permissions.query({ name: "read" });
  return read.state === "granted";
}
