/**
 * A bridge in a network namespace, with TAP interfaces for ports: where a guest
 * goes on that leaves one port and comes back on another.
 *
 * @module
 */
import { assert } from "@std/assert";
import { follow } from "../support/follow.ts";
import { Netns } from "../support/netns.ts";
import { eventually } from "./deadline.ts";
import type { End } from "./net_traffic.ts";

const NAME = "bridge";
const START_TIMEOUT_MS = 60_000;
const SEE_TIMEOUT_MS = 20_000;
/** A reverse ARP request, as RFC 903 has it. */
const REVERSE_REQUEST = "3";
const BROADCAST = "ff:ff:ff:ff:ff:ff";

/** A bridge that has an address of its own. Disposing removes all of it. */
export class Bridge implements AsyncDisposable {
  /** Where the bridge and its ports are. */
  readonly namespace: Netns = new Netns();
  /** The address of the bridge, on which the host answers. */
  readonly address: string;
  #watcher: Deno.ChildProcess | null = null;
  #watched: Promise<void>[] = [];
  #announcements = "";
  #complaints = "";

  /** Makes one with `address`/24. */
  constructor(address: string) {
    this.address = address;
    const { namespace } = this;
    namespace.run("ip", "link", "add", NAME, "type", "bridge");
    namespace.run("ip", "address", "add", `${address}/24`, "dev", NAME);
    namespace.run("ip", "link", "set", NAME, "up");
  }

  /** Makes the TAP interface `name`, a port of the bridge. */
  addPort(name: string): void {
    const { namespace } = this;
    const words = ["mode", "tap", "vnet_hdr"];
    namespace.run("ip", "tuntap", "add", "dev", name, ...words);
    namespace.run("ip", "link", "set", name, "master", NAME, "up");
  }

  /** The host's end of what passes over it, with its files in `directory`. */
  end(directory: string): End {
    return { shell: this.namespace, address: this.address, directory };
  }

  /** Waits until the bridge sends what is for `mac` to port `name`. */
  async leads(mac: string, name: string): Promise<void> {
    let ports: string[] = [];
    await eventually(
      async () => {
        const text = await this.namespace.start(
          ...["bridge", "-j", "fdb", "show", "br", NAME, "dynamic"],
        );
        ports = (JSON.parse(text) as { mac: string; ifname: string }[])
          .filter((entry) => entry.mac === mac)
          .map(({ ifname }) => ifname);
        return ports.length === 1 && ports[0] === name;
      },
      SEE_TIMEOUT_MS,
      () => `The bridge knows ${mac} on "${ports.join()}", wanted ${name}`,
    );
  }

  /** Begins to look for reverse ARP, by which hosts tell where they are. */
  async watch(): Promise<void> {
    const [program, ...args] = this.namespace.command([
      ...["tshark", "-l", "-n", "-i", NAME, "-f", "ether proto 0x8035"],
      ...["-T", "fields", "-e", "eth.dst", "-e", "eth.src"],
      ...["-e", "arp.opcode", "-e", "arp.src.hw_mac"],
    ]);
    this.#watcher = new Deno.Command(program!, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { stdout, stderr } = this.#watcher;
    this.#watched = [
      follow(stdout, (text) => this.#announcements += text),
      follow(stderr, (text) => this.#complaints += text),
    ];
    await eventually(
      () => this.#complaints.includes("Capturing on"),
      START_TIMEOUT_MS,
      () => `tshark does not capture: ${this.#complaints}`,
    );
  }

  /** How often `mac` announced itself; each time to all, and rightly. */
  announcements(mac: string): number {
    const lines = this.#announcements.split("\n").slice(0, -1);
    const own = lines.filter((line) => line.includes(mac));
    for (const line of own) {
      const [to, from, opcode, who] = line.split("\t");
      const isRight = to === BROADCAST && from === mac && who === mac &&
        opcode === REVERSE_REQUEST;
      assert(isRight, line);
    }
    return own.length;
  }

  /** Waits until `mac` announced itself more often than `before`. */
  async announced(mac: string, before: number): Promise<void> {
    await eventually(
      () => this.announcements(mac) > before,
      SEE_TIMEOUT_MS,
      () =>
        `No reverse ARP of ${mac} on the bridge:\n` +
        this.#announcements + this.#complaints,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      // So that it ends what captures for it.
      this.#watcher?.kill("SIGINT");
    } catch {
      // It has ended.
    }
    await this.#watcher?.status;
    await Promise.all(this.#watched);
    this.namespace[Symbol.dispose]();
  }
}
