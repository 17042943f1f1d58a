/**
 * A network card on a fake driver, and a driver for each of its pairs.
 *
 * @module
 */
import { net } from "../../devices/net/mod.ts";
import { VIRTIO_NET_F_MRG_RXBUF } from "../../devices/net/protocol.ts";
import {
  FakeDriver,
  type FakeDriverOptions,
  type GivenOptions,
  NetDriver,
  type NetDriverOptions,
} from "../../src/testing/mod.ts";

/** How a card is run. */
export interface CardOptions extends FakeDriverOptions {
  /** How each pair is driven. */
  driver?: Omit<NetDriverOptions, "mergeable">;
}

/** One card, all of its pairs, of which the first is enabled. */
export class Card implements AsyncDisposable {
  /** The device and its rings. */
  readonly fake: FakeDriver;
  /** A driver a pair. */
  readonly drivers: readonly NetDriver[];

  private constructor(fake: FakeDriver, options: CardOptions) {
    this.fake = fake;
    const { features = -1n } = options;
    const { queueCount, features: offered } = fake.device;
    const mergeable = (offered & features & VIRTIO_NET_F_MRG_RXBUF) !== 0n;
    this.drivers = Array.from({ length: queueCount / 2 }, (_, pair) => {
      const [receive, transmit] = this.#ringsOf(pair);
      return new NetDriver(fake.memory, receive!, transmit!, {
        ...options.driver,
        mergeable,
      });
    });
  }

  /** Opens a card with `given` options. */
  static async open(
    given: GivenOptions,
    options: CardOptions = {},
  ): Promise<Card> {
    const fake = await FakeDriver.open(net, given, {
      enabledCount: 2,
      ...options,
    });
    return new Card(fake, options);
  }

  /** The driver of the first pair. */
  get driver(): NetDriver {
    return this.drivers[0]!;
  }

  /** SET_VRING_ENABLE for both rings of a pair. */
  enablePair(pair: number, enabled: boolean): void {
    for (const ring of this.#ringsOf(pair)) ring.enable(enabled);
  }

  /** Stops both rings of a pair and starts them again where they were. */
  restartPair(pair: number): void {
    for (const ring of this.#ringsOf(pair)) ring.restart();
  }

  /** Turns until nothing moves any more. */
  settle(): void {
    this.fake.settle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake[Symbol.asyncDispose]();
  }

  #ringsOf(pair: number): FakeDriver["rings"] {
    return this.fake.rings.slice(2 * pair, 2 * pair + 2);
  }
}
