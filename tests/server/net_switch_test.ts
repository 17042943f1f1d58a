/**
 * Cards that are joined by the switch of one process.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Reactor } from "../../src/io/reactor.ts";
import { NetConnection } from "../../src/testing/net_connection.ts";
import { withDeadline } from "../vm/deadline.ts";
import { IpStack } from "./support/ip_stack.ts";
import { Several } from "./support/several.ts";

const PATIENCE_MS = 30_000;
const OWNERS = [1, 2, 3];

function addressOf(owner: number): string {
  return `192.0.2.${owner}`;
}

function macOf(owner: number): number[] {
  return [0x52, 0x54, 0, 0, 0, owner];
}

/** One guest on the switch, which answers to all. */
class Guest implements Disposable {
  readonly stack: IpStack;
  readonly net: NetConnection;
  #served: Promise<void> | null = null;
  #done = false;

  private constructor(net: NetConnection, owner: number) {
    this.net = net;
    this.stack = new IpStack(net.driver, macOf(owner), addressOf(owner));
  }

  static async open(path: string, owner: number): Promise<Guest> {
    return new Guest(await NetConnection.open(path), owner);
  }

  /** Answers in the background. */
  answer(): void {
    this.#served = this.stack.serve(() => this.#done).catch((error) => {
      if (!this.#done) throw error;
    });
  }

  /** Asks `owner`, who answers, for echoes. */
  async ask(owner: number): Promise<void> {
    const { stack } = this;
    await withDeadline(stack.resolve(addressOf(owner)), PATIENCE_MS);
    for (let i = 0; i < 20; i++) {
      const payload = crypto.getRandomValues(new Uint8Array(70 * i));
      const before = stack.echoes.length;
      await stack.ask(addressOf(owner), i, payload);
      const back = stack.serve(() => stack.echoes.length > before);
      await withDeadline(back, PATIENCE_MS);
      assertEquals(stack.echoes.at(-1)!.payload, payload);
    }
  }

  [Symbol.dispose](): void {
    this.#done = true;
    this.net[Symbol.dispose]();
    void this.#served;
  }
}

for (const plane of ["inline", "worker"]) {
  Deno.test(`guests talk through the switch, and leave and come (${plane})`, async () => {
    using several = new Several(
      [
        ...OWNERS.map((owner) => ({
          device: "net",
          name: `card${owner}`,
          backend: "switch",
          segment: "lab0",
        })),
        { device: "net", name: "other", backend: "switch", segment: "lab1" },
      ],
      plane,
    );
    await using backEnd = await several.start();
    const path = (owner: number) => several.socketPath(`card${owner}`);
    using other = await Guest.open(several.socketPath("other"), 9);
    {
      using answering = await Guest.open(path(2), 2);
      answering.answer();
      for (const owner of [1, 3]) {
        using asking = await Guest.open(path(owner), owner);
        await asking.ask(2);
      }
    }
    // The same place, another guest: the address is somewhere else now.
    {
      using answering = await Guest.open(path(3), 2);
      answering.answer();
      using asking = await Guest.open(path(1), 1);
      await asking.ask(2);
    }
    assertEquals(other.net.driver.take(), null);
    const { code } = await backEnd.stop();
    assertEquals(code, 0, backEnd.log);
    assertStringIncludes(backEnd.log, "dropped were 0 to it and 0 from it");
    await Reactor.main.idle();
  });
}
