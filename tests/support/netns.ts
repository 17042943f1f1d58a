/**
 * A network namespace with TAP interfaces. What a test sends stays in it.
 *
 * @module
 */
import { withDeadline } from "../vm/deadline.ts";

const SCRIPT_TIMEOUT_MS = 60_000;

/** Something that runs shell scripts: a guest, or a namespace of the host. */
export interface Shell {
  /** Runs `script`; its trimmed standard output, or an Error where it fails. */
  output(script: string, options?: { timeoutMs?: number }): Promise<string>;
}

/** What the kernel counted on an interface, as its user sees it. */
export interface LinkCounters {
  /** Frames from the guest. */
  rxPackets: number;
  /** Their bytes. */
  rxBytes: number;
  /** Frames to the guest. */
  txPackets: number;
  /** Their bytes. */
  txBytes: number;
}

/** Whether namespaces with TAP interfaces can be made; throws with the reason. */
export function canMakeNetns(): boolean {
  using netns = new Netns();
  netns.run("ip", "tuntap", "add", "dev", "probe", "mode", "tap");
  return true;
}

/** A namespace of its own. Disposing ends what runs in it and removes it. */
export class Netns implements Disposable, Shell {
  /** As `ip netns` knows it. */
  readonly name: string;

  /** Makes one whose loopback is up. */
  constructor() {
    this.name = `rs-${crypto.randomUUID().slice(0, 8)}`;
    capture(["ip", "netns", "add", this.name]);
    this.run("ip", "link", "set", "lo", "up");
  }

  /** The command that runs `words` in it. */
  command(words: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.name, ...words];
  }

  /** Runs a program in it to its end: what it wrote. Throws where it fails. */
  run(...words: string[]): string {
    return capture(this.command(words));
  }

  /** The same, without holding the thread. */
  async start(...words: string[]): Promise<string> {
    const [program, ...args] = this.command(words);
    const { success, stdout, stderr } = await new Deno.Command(program!, {
      args,
      stdin: "null",
    }).output();
    return outcome(words, success, stdout, stderr);
  }

  /** Runs `ip` in it with the words of `line`. */
  ip(line: string): Promise<string> {
    return this.start("ip", ...line.split(" "));
  }

  /** Runs a script of dash in it; where that takes too long, ends all there is. */
  async output(
    script: string,
    options: { timeoutMs?: number } = {},
  ): Promise<string> {
    const { timeoutMs = SCRIPT_TIMEOUT_MS } = options;
    const ended = this.start("dash", "-c", script);
    try {
      return await withDeadline(ended, timeoutMs);
    } catch (error) {
      this.#end();
      await ended.catch(() => {});
      throw error;
    }
  }

  /** Makes a persistent TAP interface with an address, up. */
  addTap(name: string, address: string, ...more: string[]): void {
    this.run("ip", "tuntap", "add", "dev", name, "mode", "tap", ...more);
    this.run("ip", "address", "add", address, "dev", name);
    this.run("ip", "link", "set", name, "up");
  }

  /** Counters of interface `name`. */
  async counters(name: string): Promise<LinkCounters> {
    const [link] = JSON.parse(await this.ip(`-j -s link show dev ${name}`));
    const { rx, tx } = link.stats64;
    return {
      rxPackets: rx.packets,
      rxBytes: rx.bytes,
      txPackets: tx.packets,
      txBytes: tx.bytes,
    };
  }

  [Symbol.dispose](): void {
    this.#end();
    capture(["ip", "netns", "del", this.name]);
  }

  /** Ends the processes of the namespace, all of which are ours. */
  #end(): void {
    const pids = capture(["ip", "netns", "pids", this.name]);
    for (const pid of pids.split("\n").filter((line) => line !== "")) {
      try {
        Deno.kill(Number(pid), "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }
}

function capture(words: readonly string[]): string {
  const [program, ...args] = words;
  const { success, stdout, stderr } = new Deno.Command(program!, { args })
    .outputSync();
  return outcome(words, success, stdout, stderr);
}

function outcome(
  words: readonly string[],
  success: boolean,
  stdout: Uint8Array,
  stderr: Uint8Array,
): string {
  const decoder = new TextDecoder();
  const out = decoder.decode(stdout);
  if (success) return out.trim();
  throw new Error(`${words.join(" ")}: ${out}${decoder.decode(stderr)}`);
}
