/**
 * Traffic between two ends that run scripts: a guest and the host, or two
 * guests.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Shell } from "../support/netns.ts";

/** One end of a link. */
export interface End {
  /** Runs scripts there. */
  shell: Shell;
  /** Its address on the link. */
  address: string;
  /** Where its scripts may leave files. */
  directory: string;
}

/** What {@linkcode ping} sends. */
export const PINGS = 3;
/** iperf3 sends for so many seconds; unless given, so much. */
const IPERF_S = Deno.env.get("RINGSIDE_IPERF_SECONDS");
const IPERF_LOAD = IPERF_S === undefined ? "-n 8M" : `-t ${IPERF_S}`;
const MEBIBYTE = 1 << 20;

let lastPort = 5000;

/** A port that nothing here has used before: old connections linger. */
export function freshPort(): number {
  return ++lastPort;
}

/** A script that waits until something listens on `port`. */
export function untilListening(port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return `
    for turn in $(seq 200); do
      grep -q ":${hex} .* 0A " /proc/net/tcp /proc/net/tcp6 && break
      sleep 0.05
    done
    grep -q ":${hex} .* 0A " /proc/net/tcp /proc/net/tcp6
  `;
}

/** Pings `to` from `from` with `size` bytes; rejects where one is lost. */
export async function ping(from: End, to: End, size = 56): Promise<string> {
  const text = await from.shell.output(
    `busybox ping -c ${PINGS} -i 0.1 -W 5 -s ${size} ${to.address}`,
  );
  assertStringIncludes(text, `${PINGS} packets received, 0% packet loss`);
  return text.split("\n").at(-1)!;
}

/** Whether `to` answers `from` now. */
export async function answers(from: End, to: End): Promise<boolean> {
  const text = await from.shell.output(
    `busybox ping -c 1 -W 1 ${to.address} || true`,
  );
  return text.includes(" 0% packet loss");
}

/** Options of {@linkcode iperf}. */
export interface IperfOptions {
  /** The processor of `from` that sends and receives. */
  processor?: number;
  /** How long it sends; else as the environment says. */
  seconds?: number;
  /** More options for the client. */
  more?: string;
}

/** Measures TCP from `from` to `to` with iperf3: bits a second that arrived. */
export async function iperf(
  from: End,
  to: End,
  { processor, seconds, more = "" }: IperfOptions = {},
): Promise<number> {
  const port = freshPort();
  const load = seconds === undefined ? IPERF_LOAD : `-t ${seconds}`;
  await to.shell.output(
    `iperf3 -s -1 -D -p ${port} >/dev/null 2>&1 || exit 1
     ${untilListening(port)}`,
  );
  const pin = processor === undefined ? "" : `taskset -c ${processor} `;
  const text = await from.shell.output(
    `${pin}iperf3 -c ${to.address} -p ${port} ${load} -J ${more}`,
  );
  const { end } = JSON.parse(text);
  assert(end.sum_received.bytes > MEBIBYTE, text);
  return end.sum_received.bits_per_second;
}

/** {@linkcode iperf} there and back, as text. */
export async function iperfBothWays(
  here: End,
  there: End,
  options: IperfOptions = {},
): Promise<string> {
  const mega = (bits: number) => `${Math.round(bits / 1e6)} Mbit/s`;
  const out = await iperf(here, there, options);
  const back = await iperf(here, there, {
    ...options,
    more: `${options.more ?? ""} -R`,
  });
  return `${mega(out)} out, ${mega(back)} back`;
}

/**
 * Sends `mebibytes` of random bytes over TCP and rejects unless they arrive as
 * they were: their SHA-256.
 */
export async function sendFile(
  from: End,
  to: End,
  mebibytes: number,
): Promise<string> {
  const port = freshPort();
  const timeoutMs = 60_000 + 1000 * mebibytes;
  const directory = `${to.directory}/received-${port}`;
  // nc hangs up at the end of its standard input: this one has none.
  await to.shell.output(`
    mkdir ${directory} && cd ${directory} && mkfifo hold || exit 1
    exec 9<>hold
    (busybox nc -l -p ${port} <&9 | sha256sum >hash; mv hash done) \\
      >/dev/null 2>&1 &
    ${untilListening(port)}
  `);
  const source = `${from.directory}/sent-${port}`;
  const sent = await from.shell.output(
    `
    mkdir ${source} && cd ${source} && mkfifo copy || exit 1
    sha256sum <copy >hash &
    dd if=/dev/urandom bs=1M count=${mebibytes} iflag=fullblock 2>/dev/null |
      tee copy | busybox nc ${to.address} ${port} || exit 1
    wait
    cat hash
    rm -r ${source}
  `,
    { timeoutMs },
  );
  const received = await to.shell.output(`
    for turn in $(seq 200); do [ -e ${directory}/done ] && break; sleep 0.05; done
    cat ${directory}/done
    rm -r ${directory}
  `);
  assertEquals(received, sent);
  return sent.split(" ")[0]!;
}
