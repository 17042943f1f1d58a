/**
 * What a network scenario is set up with: a namespace, a directory, and the
 * process that serves the cards.
 *
 * @module
 */
import { Netns } from "../support/netns.ts";
import type { BackEnd } from "./back_end.ts";
import type { End } from "./net_traffic.ts";
import { type DeviceEntry, socketPathOf, startServing } from "./serving.ts";

/** A directory, a namespace, a process in it. Disposing removes all. */
export class Lab implements AsyncDisposable {
  /** The directory. */
  readonly directory: string;
  /** The host's side of the cards. */
  readonly namespace: Netns;
  #backEnd: BackEnd | null = null;

  private constructor(directory: string, namespace: Netns) {
    this.directory = directory;
    this.namespace = namespace;
  }

  /** An empty lab. */
  static async set(): Promise<Lab> {
    const namespace = new Netns();
    const directory = await Deno.makeTempDir({ prefix: "ringside-net-" });
    return new Lab(directory, namespace);
  }

  /** The process, once it serves. */
  get backEnd(): BackEnd {
    if (this.#backEnd === null) throw new Error("Nothing is served yet");
    return this.#backEnd;
  }

  /** The socket of card `name`. */
  socketPath(name: string): string {
    return socketPathOf(this.directory, name);
  }

  /** Where the frames of card `name` are written. */
  capturePath(name: string): string {
    return `${this.directory}/${name}.pcapng`;
  }

  /** The host's end of a link. */
  end(address: string): End {
    return { shell: this.namespace, address, directory: this.directory };
  }

  /** Makes a TAP interface that is up and has `address`/24. */
  async addInterface(
    name: string,
    options: { address: string; mtu?: number; severalQueues?: boolean },
  ): Promise<void> {
    const { address, mtu, severalQueues } = options;
    const words = ["vnet_hdr", ...(severalQueues ? ["multi_queue"] : [])];
    this.namespace.addTap(name, `${address}/24`, ...words);
    if (mtu !== undefined) {
      await this.namespace.ip(`link set ${name} mtu ${mtu}`);
    }
  }

  /** Starts the process, in the namespace, for `devices`. */
  async serve(devices: readonly DeviceEntry[]): Promise<void> {
    const prefix = this.namespace.command([]);
    this.#backEnd = await startServing(this.directory, devices, prefix);
  }

  /** Ends the process and removes the rest. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backEnd?.[Symbol.asyncDispose]();
    this.namespace[Symbol.dispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}
