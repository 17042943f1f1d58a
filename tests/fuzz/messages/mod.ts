/**
 * Everything that a front-end may send, in any order, to sessions whose
 * back-end insists that what it is asked for makes sense.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Reactor } from "../../../src/io/reactor.ts";
import { Prng } from "../../../src/testing/mod.ts";
import type { MemoryLayout } from "../../../src/memory/guest_memory.ts";
import {
  u64,
  vringAddress,
  vringFd,
  vringState,
} from "../../../src/vhost_user/message.ts";
import { VHOST_USER as R } from "../../../src/vhost_user/protocol.ts";
import type { Step } from "../batch.ts";
import type { Tally, Target, World } from "../target.ts";
import { compare, converse, cutShort } from "./conversation.ts";
import { BACKEND_SHAPE, FuzzBackend } from "./fuzz_backend.ts";
import { Generator, message, MESSAGE_KINDS, soundMemory } from "./generator.ts";
import { type Outgoing, Supply } from "./outgoing.ts";
import { type SessionFacts, SessionModel } from "./session_model.ts";

/** Messages of one session: all fit the buffer of its socket. */
const MESSAGES_MAX = 80;

class Sessions implements World {
  readonly #backend: FuzzBackend;
  readonly #reactor = new Reactor();
  readonly #supply = new Supply();
  readonly #generator: Generator;
  readonly #facts: SessionFacts;
  readonly #tally: Tally;
  #messages: Outgoing[] = [];

  constructor(
    shape: Readonly<Record<string, number>>,
    tally: Tally,
  ) {
    this.#tally = tally;
    this.#backend = new FuzzBackend(shape);
    this.#facts = this.#backend.facts;
    this.#generator = new Generator(this.#facts);
  }

  async step([kind, count, seed]: Step): Promise<void> {
    const prng = new Prng(seed);
    if (kind === "hang up") return await this.#run();
    if (kind === "cut") return await this.#cut();
    // Who does not begin like this is refused the most, and sent away.
    if (this.#messages.length === 0 && !prng.oneIn(8)) {
      this.#messages.push(...this.#generator.beginning(prng));
    }
    for (let i = 0; i < count; i++) {
      const messages = this.#generator.messages(kind, prng);
      if (this.#messages.length + messages.length > MESSAGES_MAX) return;
      this.#messages.push(...messages);
    }
  }

  async soundness(): Promise<void> {
    await this.#run();
    this.#backend.failing.clear();
    const { protocolFeatures, features } = this.#facts;
    const index = 1;
    const start = 0x7f00_0000_0000;
    const address = {
      index,
      flags: 0,
      log: 0,
      descriptor: start,
      available: start + 0x4000,
      used: start + 0x8000,
    };
    const notifier = vringFd.encode({ index: BigInt(index), noFd: false });
    const state = (num: number) => vringState.encode({ index, num });
    this.#messages = [
      message(R.SET_PROTOCOL_FEATURES, u64.encode({ value: protocolFeatures })),
      message(R.SET_FEATURES, u64.encode({ value: features | 1n << 30n })),
      soundMemory(2),
      message(R.SET_VRING_NUM, state(256)),
      message(R.SET_VRING_BASE, state(77)),
      message(R.SET_VRING_ADDR, vringAddress.encode(address)),
      message(R.SET_VRING_CALL, notifier, ["event"]),
      message(R.SET_VRING_KICK, notifier, ["event"]),
      message(R.SET_VRING_ENABLE, state(1)),
      message(R.GET_VRING_BASE, state(0)),
    ];
    this.#backend.done.set(index, 5);
    const { replies } = await converse(
      this.#messages,
      this.#backend,
      this.#reactor,
      this.#supply,
    );
    this.#backend.done.clear();
    const values = replies.map(({ payload }) => u64.decode(payload).value);
    const base = u64.decode(state(77 + 5)).value;
    assertEquals(values, [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, base]);
    this.#messages = [];
  }

  async close(): Promise<void> {
    this.#supply[Symbol.dispose]();
    await this.#reactor[Symbol.asyncDispose]();
  }

  /** Has the session that was prepared. */
  async #run(): Promise<void> {
    const messages = this.#messages;
    this.#messages = [];
    if (messages.length === 0) return;
    const backend = this.#backend;
    const layouts: MemoryLayout[] = [];
    backend.onMemory = (layout) => layouts.push(layout);
    const model = new SessionModel({ ...this.#facts, config: backend.config });
    const outcome = await converse(
      messages,
      backend,
      this.#reactor,
      this.#supply,
    );
    this.#atRest();
    const willing = backend.failing.size === 0;
    // The last layout of all is that of the end: none.
    if (compare(messages, outcome, model, willing, this.#tally)) {
      model.memory.compare(layouts.at(-2) ?? NO_LAYOUT);
    }
    this.#tally.add("sequences");
    this.#tally.add("messages", messages.length);
  }

  async #cut(): Promise<void> {
    const messages = this.#messages;
    this.#messages = [];
    await cutShort(messages, this.#backend, this.#reactor, this.#supply);
    this.#atRest();
    this.#tally.add("sequences");
    this.#tally.add("messages", messages.length);
  }

  /** The back-end was left as it was found. */
  #atRest(): void {
    const backend = this.#backend;
    assertEquals(backend.rings.size, 0, "a ring runs after the session");
    assertEquals(backend.layout.regions.length, 0, "memory is still in use");
    assertEquals(backend.notify, null);
    const started = backend.calls.filter((call) =>
      call.startsWith("startVring")
    );
    this.#tally.add("rings started", started.length);
    backend.calls.length = 0;
    // Each session counts its generations from the start.
    backend.layout = NO_LAYOUT;
  }
}

const NO_LAYOUT: MemoryLayout = { generation: 0, regions: [] };

/** Sessions over socket pairs. */
export const messages: Target = {
  name: "messages",
  unit: "sequences",
  deterministic: true,
  round: 100,
  spec: {
    shape: BACKEND_SHAPE,
    kinds: MESSAGE_KINDS,
    steps: 200,
    count: 3,
  },
  open: (shape, tally) => new Sessions(shape, tally),
};
