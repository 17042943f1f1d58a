/**
 * A guest with one card on a TAP interface, in a network namespace of its own,
 * and what serves the card.
 *
 * @module
 */
import { ProcessMeter } from "../../src/load/process_meter.ts";
import { Guest } from "../../tests/vm/guest.ts";
import type { BootFiles } from "../../tests/vm/initramfs.ts";
import { bringUp, negotiated } from "../../tests/vm/net_guest.ts";
import { Lab } from "../../tests/vm/net_lab.ts";
import type { End } from "../../tests/vm/net_traffic.ts";

const CARD = "card";
const MAC = "52:54:00:77:00:01";
const HOST = "10.77.0.1";
const GUEST = "10.77.0.2";

/** Who serves the card of a guest. */
export interface Server {
  /** As in the tables. */
  readonly name: string;
  /** Whether it is ringside; else QEMU itself. */
  readonly isOurs: boolean;
}

/** Processors that were busy, on the average. */
export interface Busy {
  /** Of the guest and whatever else QEMU does. */
  readonly qemu: number;
  /** Of ringside; 0 where QEMU serves the card. */
  readonly backEnd: number;
}

/** Both ends of the link, and the processes between them. */
export class Rig implements AsyncDisposable {
  readonly server: Server;
  /** The guest's end. */
  readonly guest: End;
  /** The host's end. */
  readonly host: End;
  readonly #lab: Lab;
  readonly #machine: Guest;
  readonly #meters: readonly ProcessMeter[];

  private constructor(server: Server, lab: Lab, machine: Guest) {
    this.server = server;
    this.#lab = lab;
    this.#machine = machine;
    this.guest = { shell: machine, address: GUEST, directory: "/tmp" };
    this.host = lab.end(HOST);
    const pids = [machine.pid, ...(server.isOurs ? [lab.backEnd.pid] : [])];
    this.#meters = pids.map((pid) => new ProcessMeter(pid));
  }

  /** Boots a guest of one processor whose card `server` serves. */
  static async set(server: Server, boot: BootFiles): Promise<Rig> {
    const lab = await Lab.set();
    let machine: Guest | null = null;
    try {
      await lab.addInterface(CARD, { address: HOST });
      if (server.isOurs) {
        await lab.serve([
          { device: "net", name: CARD, mac: MAC, ifname: CARD },
        ]);
      }
      const socketPath = lab.socketPath(CARD);
      machine = await Guest.boot({
        boot,
        cards: [{
          socketPath,
          mac: MAC,
          ...(server.isOurs ? {} : { tapName: CARD }),
        }],
        processorCount: 1,
        prefix: lab.namespace.command([]),
      });
      await bringUp(machine, MAC, CARD, GUEST);
      return new Rig(server, lab, machine);
    } catch (error) {
      await machine?.[Symbol.asyncDispose]();
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What guest and device agreed on, of what concerns frames. */
  async features(): Promise<string> {
    return [...await negotiated(this.#machine, CARD)].join(" ");
  }

  /** Does `work`: what it says, and who was busy meanwhile. */
  async watch(work: () => Promise<number>): Promise<[number, Busy]> {
    for (const meter of this.#meters) meter.start();
    const before = performance.now();
    const result = await work();
    const seconds = (performance.now() - before) / 1000;
    const [qemu = 0, backEnd = 0] = this.#meters.map((meter) => {
      const { userSeconds, systemSeconds } = meter.read();
      return (userSeconds + systemSeconds) / seconds;
    });
    return [result, { qemu, backEnd }];
  }

  /** Ends all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]();
    await this.#lab[Symbol.asyncDispose]();
  }
}
