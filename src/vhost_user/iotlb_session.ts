/**
 * The IOTLB of a session: what the front-end's IOMMU lets the device reach, and
 * what the device asks it for (specification, "IOMMU support").
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { log } from "../log.ts";
import type { IotlbBackend, IotlbQuestion } from "./backend.ts";
import type { BackendChannel } from "./backend_channel.ts";
import { type IotlbMessage, iotlbMessage } from "./message.ts";
import { VHOST_USER_BACKEND } from "./protocol.ts";

/** `VHOST_IOTLB_*`: what a message is. */
const MISS = 1;
const UPDATE = 2;
const INVALIDATE = 3;
/** `VHOST_ACCESS_RW`: reading is bit 0, writing bit 1. */
const READ_WRITE = 3;
/** I/O virtual addresses are below: then all arithmetic is exact. */
const ADDRESS_END = Number.MAX_SAFE_INTEGER;
/** Questions that a front-end may leave unanswered. */
const QUESTIONS_MAX = 16384;

/** What this part needs to know of its session. */
export interface IotlbHost {
  /** The guest address of a range of user addresses, or -1. */
  userToGuest(userAddress: number, size: number): number;
}

/** Serves IOTLB_MSG in both directions. Failing methods throw a ProtocolError. */
export class IotlbSession {
  readonly #backend: IotlbBackend;
  readonly #host: IotlbHost;
  #channel: BackendChannel | null = null;
  /** What was asked and is not answered, by its key. */
  readonly #questions = new Map<string, IotlbQuestion>();

  /** Maps what is in the memory of `host`, for `backend`. */
  constructor(backend: IotlbBackend, host: IotlbHost) {
    this.#backend = backend;
    this.#host = host;
    backend.onMiss((question) => this.#ask(question));
  }

  /** The way to the front-end; what waits is asked there. */
  set channel(channel: BackendChannel | null) {
    this.#channel = channel;
    if (channel === null) return;
    for (const question of this.#questions.values()) this.#send(question);
  }

  /** IOTLB_MSG of the front-end: resolves when every thread has gone over. */
  async receive(message: IotlbMessage): Promise<void> {
    switch (message.type) {
      case UPDATE:
        return await this.#update(message);
      case INVALIDATE:
        return await this.#invalidate(message);
      default:
        throw new ProtocolError(
          `IOTLB_MSG is of type ${message.type}, wanted 2 (update) or 3 ` +
            "(invalidate)",
        );
    }
  }

  /** Forgets all mappings and questions: no ring runs. */
  async clear(): Promise<void> {
    this.#questions.clear();
    await this.#backend.invalidate(0, ADDRESS_END);
  }

  /** Asks for nothing more. */
  close(): void {
    this.#backend.onMiss(null);
    this.#channel = null;
    this.#questions.clear();
  }

  async #update(message: IotlbMessage): Promise<void> {
    const { iova, size, userAddress, permissions } = message;
    if (size === 0 || !(iova + size <= ADDRESS_END)) {
      throw new ProtocolError(
        `IOTLB_MSG maps ${size} bytes at ${hex(iova)}, wanted a range that ` +
          "is not empty and ends below 2^53",
      );
    }
    if (permissions < 1 || permissions > READ_WRITE) {
      throw new ProtocolError(
        `IOTLB_MSG maps with permissions ${permissions}, wanted 1 to 3`,
      );
    }
    if (this.#host.userToGuest(userAddress, size) < 0) {
      throw new ProtocolError(
        `IOTLB_MSG maps ${size} bytes at user address ${hex(userAddress)}, ` +
          "which are not whole in one region of the shared memory",
      );
    }
    for (const [key, question] of this.#questions) {
      const offset = question.iova - iova;
      if (offset >= 0 && offset < size) this.#questions.delete(key);
    }
    await this.#backend.update({ iova, size, userAddress, permissions });
  }

  /**
   * What ends beyond the addresses there can be goes to their end, and so does
   * a range of 0 bytes: a front-end that means all 2^64 can't say so (QEMU).
   */
  async #invalidate({ iova, size }: IotlbMessage): Promise<void> {
    if (!(iova < ADDRESS_END)) return;
    const rest = ADDRESS_END - iova;
    await this.#backend.invalidate(iova, size > 0 && size < rest ? size : rest);
  }

  #ask(question: IotlbQuestion): void {
    const key = keyOf(question);
    if (this.#questions.has(key)) return;
    if (this.#questions.size === QUESTIONS_MAX) {
      log.warnOnce(
        "The front-end leaves thousands of IOTLB misses unanswered: rings wait",
      );
      return;
    }
    this.#questions.set(key, question);
    this.#send(question);
  }

  /** Nothing waits for the answer but the rings that asked. */
  #send(question: IotlbQuestion): void {
    const { iova, permissions } = question;
    const payload = iotlbMessage.encode({
      iova,
      size: 0,
      userAddress: 0,
      permissions,
      type: MISS,
    });
    this.#channel?.ask(VHOST_USER_BACKEND.IOTLB_MSG, payload, (value) => {
      this.#answered(question, value);
    });
  }

  /** The front-end has sent the mapping, or has none. */
  #answered(question: IotlbQuestion, value: bigint): void {
    const key = keyOf(question);
    if (this.#questions.get(key) === question) this.#questions.delete(key);
    if (value === 0n) return;
    this.#backend.refuse(question).catch((error) => {
      log.debug(`The data plane is gone: ${error}`);
    });
  }
}

function keyOf({ iova, permissions }: IotlbQuestion): string {
  return `${iova} ${permissions}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
