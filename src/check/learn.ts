/**
 * What has to be known of a back-end before it can be checked.
 *
 * @module
 */
import { blockHeader } from "../testing/block_driver.ts";
import { NET_HEADER_SIZE } from "../testing/net_driver.ts";
import { Frontend } from "../vhost_user/frontend.ts";
import {
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F,
} from "../vhost_user/protocol.ts";
import { expectEqual } from "./verdict.ts";
import { CheckRun } from "./check_run.ts";
import type { Guest } from "./guest.ts";
import { place, untouched } from "./layout.ts";
import { withLimit } from "./limit.ts";
import { type CheckOptions, type Facts, Target } from "./target.ts";
import { blockSizeOf } from "./workload_block.ts";
import { testFrame } from "./workload_net.ts";

/** Bytes at the start of the disk that are known. */
const KNOWN_SIZE = 1 << 20;
const READ = 0;
const WRITE = 1;
const SECTOR_SIZE = 512;
/** Bytes of config space to ask for, the most first. */
const CONFIG_SIZES = { block: [60, 36, 8], net: [12, 10, 6], rng: [] };
/** Bytes take longer than a check that has little to do. */
const LIMIT_MS = 10_000;
/** How long a frame is waited for that may come back. */
const ECHO_MS = 300;

/** Asks the back-end of `options` what it is, and reads what it serves. */
export async function learn(options: CheckOptions): Promise<Target> {
  const limitMs = Math.max(LIMIT_MS, options.timeoutMs ?? 0);
  const frontend = Frontend.connect(options.socketPath);
  let facts: Facts;
  try {
    const asked = ask(frontend, options);
    facts = await withLimit(asked, limitMs, () => "What the back-end is");
  } finally {
    frontend[Symbol.dispose]();
  }
  const target = new Target(options, facts);
  const run = new CheckRun(target, limitMs);
  try {
    const done = options.device === "block"
      ? knowDisk(run)
      : options.device === "net"
      ? knowCard(run)
      : Promise.resolve();
    await withLimit(done, limitMs, () => `The beginning (${run.step})`);
  } finally {
    run[Symbol.dispose]();
  }
  return target;
}

async function ask(
  frontend: Frontend,
  options: CheckOptions,
): Promise<Facts> {
  const features = await frontend.getFeatures();
  const protocolFeatures = (features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n
    ? 0n
    : await frontend.getProtocolFeatures();
  const { queueCount } = await frontend.negotiate();
  let config = new Uint8Array(0);
  if (frontend.hasProtocolFeature(VHOST_USER_PROTOCOL_F.CONFIG)) {
    for (const size of CONFIG_SIZES[options.device]) {
      try {
        config = new Uint8Array(await frontend.getConfig(0, size));
        break;
      } catch {
        // An older layout has fewer bytes.
      }
    }
  }
  return { features, protocolFeatures, queueCount, config };
}

/** Reads the start of the disk, which was filled where that is allowed. */
async function knowDisk(run: CheckRun): Promise<void> {
  const { target } = run;
  const capacity = target.config.byteLength < 8
    ? 0
    : Number(target.config.getBigUint64(0, true)) * SECTOR_SIZE;
  const unit = blockSizeOf(target);
  const size = Math.floor(Math.min(capacity, KNOWN_SIZE) / unit) * unit;
  if (size === 0) return;
  const guest = await run.guest();
  if (target.options.destructive ?? false) {
    const bytes = run.prng.fill(new Uint8Array(size));
    await transfer(guest, WRITE, bytes);
  }
  const known = new Uint8Array(size);
  await transfer(guest, READ, known);
  target.known = known;
}

/** Reads or writes the start of the disk, the simplest way there is. */
async function transfer(
  guest: Guest,
  type: number,
  bytes: Uint8Array,
): Promise<void> {
  const { memory, run } = guest;
  const step = 64 << 10;
  const data = memory.allocate(step, 4096);
  const status = place(memory, untouched(1));
  for (let at = 0; at < bytes.length; at += step) {
    const piece = bytes.subarray(at, at + step);
    run.step = `${type === READ ? "reading" : "writing"} from byte ${at} on`;
    const header = place(memory, blockHeader(type, at / SECTOR_SIZE));
    if (type === WRITE) memory.write(data, piece);
    await guest.ring.send([
      { address: header, size: 16, writable: false },
      { address: data, size: piece.length, writable: type === READ },
      { address: status, size: 1, writable: true },
    ]);
    expectEqual(memory.read(status, 1)[0]!, 0, `The status after ${run.step}`);
    if (type === READ) piece.set(memory.read(data, piece.length));
  }
}

/** Finds out whether frames come back, unless that is said. */
async function knowCard(run: CheckRun): Promise<void> {
  const { target } = run;
  if (target.options.loopback !== undefined) {
    target.loopsBack = target.options.loopback;
    return;
  }
  const guest = await run.guest({ receive: false });
  const { memory } = guest;
  const receive = guest.rings[0]!;
  const address = memory.allocate(2048);
  receive.add([{ address, size: 2048, writable: true }]);
  receive.publish("always");
  const frame = testFrame(1, 64);
  const bytes = new Uint8Array(NET_HEADER_SIZE + frame.length);
  bytes.set(frame, NET_HEADER_SIZE);
  const readable = place(memory, bytes);
  await guest.rings[1]!.send([
    { address: readable, size: bytes.length, writable: false },
  ]);
  const end = performance.now() + ECHO_MS;
  while (!target.loopsBack && performance.now() < end) {
    await run.quiet();
    target.loopsBack = receive.collect() > 0;
  }
}
