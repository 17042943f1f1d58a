/**
 * A network namespace with TAP interfaces: the host's side of a guest's cards.
 * What a test sends stays in it.
 *
 * @module
 */
import { withDeadline } from "./deadline.ts";

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

const SCRIPT_TIMEOUT_MS = 60_000;

async function capture(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(
      `${program} ${args.join(" ")}: ${decoder.decode(stdout)}` +
        decoder.decode(stderr),
    );
  }
  return decoder.decode(stdout).trim();
}

/** Whether this user may make network namespaces; throws with the reason. */
export function canMakeNamespaces(): boolean {
  const { success, stderr } = new Deno.Command("unshare", {
    args: ["--net", "true"],
    stdout: "null",
    stderr: "piped",
  }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
  return true;
}

/** A namespace of its own name. Disposing ends what runs in it and removes it. */
export class Namespace implements AsyncDisposable, Shell {
  /** As `ip netns` knows it. */
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** An empty namespace. */
  static async make(): Promise<Namespace> {
    const number = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const name = `ringside-${number.toString(16)}`;
    await capture("ip", ["netns", "add", name]);
    const namespace = new Namespace(name);
    await namespace.ip("link set lo up");
    return namespace;
  }

  /** What goes before a command that is to run here. */
  get prefix(): string[] {
    return ["ip", "netns", "exec", this.name];
  }

  /** Runs `ip` here with the words of `line`. */
  async ip(line: string): Promise<string> {
    return await capture("ip", ["-n", this.name, ...line.split(" ")]);
  }

  /** Runs a script of dash here. */
  async output(
    script: string,
    options: { timeoutMs?: number } = {},
  ): Promise<string> {
    const [program, ...args] = [...this.prefix, "dash", "-c", script];
    const child = new Deno.Command(program!, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { timeoutMs = SCRIPT_TIMEOUT_MS } = options;
    const ended = child.output();
    try {
      const { success, stdout, stderr } = await withDeadline(ended, timeoutMs);
      const decoder = new TextDecoder();
      const text = decoder.decode(stdout).trim();
      if (success) return text;
      throw new Error(
        `It failed on the host:\n${script}\n${text}\n${decoder.decode(stderr)}`,
      );
    } catch (error) {
      await this.#end();
      await ended;
      throw error;
    }
  }

  /** Makes a TAP interface that stays, for one queue or several. */
  async addTap(
    name: string,
    options: { mtu?: number; severalQueues?: boolean } = {},
  ): Promise<void> {
    const several = options.severalQueues ? " multi_queue" : "";
    await this.ip(`tuntap add dev ${name} mode tap vnet_hdr${several}`);
    if (options.mtu !== undefined) {
      await this.ip(`link set ${name} mtu ${options.mtu}`);
    }
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

  /** Ends what runs here and removes the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await capture("ip", ["netns", "del", this.name]);
  }

  /** Ends the processes of the namespace, all of which are ours. */
  async #end(): Promise<void> {
    const pids = await capture("ip", ["netns", "pids", this.name]);
    for (const pid of pids.split("\n").filter((line) => line !== "")) {
      try {
        Deno.kill(Number(pid), "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }
}
