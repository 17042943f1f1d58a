/**
 * The front-end's end of the second socket: requests of the back-end.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import type { BackendHandlers } from "./frontend_handlers.ts";
import type { BorrowedFd } from "./frontend_link.ts";
import {
  iotlbMessage,
  SHARED_OBJECT_SIZE,
  sharedMemoryMap,
  u64,
  vringArea,
  vringFd,
  vringState,
} from "./message.ts";
import {
  backendRequestName,
  VHOST_USER_BACKEND,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

const REPLY_FLAGS = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
const ACK = u64.encode({ value: 0n });
const NACK = u64.encode({ value: 1n });

/** Refusals that are logged for one back-end; a hostile one could go on for ever. */
const LOGGED_REFUSALS = 16;

/** What a request is answered with beside the acknowledgement. */
type Answer = BorrowedFd | null | void;

/** One request of the back-end. */
interface Row {
  /** Its method. */
  readonly handler: keyof BackendHandlers;
  /** Bytes of payload, exactly. */
  readonly size: number;
  /** Descriptors; "vring": one unless bit 8 says none. */
  readonly fds: 0 | 1 | "vring";
  /** Whether it is answered by a descriptor, asked for or not. */
  readonly answersFd?: boolean;
  /** Calls the method, which is there. Takes the descriptors that it passes on. */
  run(handlers: BackendHandlers, message: Message): Promise<Answer> | Answer;
}

const ROWS: ReadonlyMap<number, Row> = new Map<number, Row>([
  [VHOST_USER_BACKEND.IOTLB_MSG, {
    handler: "iotlb",
    size: iotlbMessage.size,
    fds: 0,
    run: (to, { payload }) => to.iotlb!(iotlbMessage.decode(payload)),
  }],
  [VHOST_USER_BACKEND.CONFIG_CHANGE_MSG, {
    handler: "configChanged",
    size: 0,
    fds: 0,
    run: (to) => to.configChanged!(),
  }],
  [VHOST_USER_BACKEND.VRING_HOST_NOTIFIER_MSG, {
    handler: "hostNotifier",
    size: vringArea.size,
    fds: "vring",
    run(to, { payload, fds }) {
      const { size, offset } = vringArea.decode(payload);
      const index = Number(vringFd.decode(payload).index);
      return to.hostNotifier!({ index, size, offset, fd: fds.shift() ?? null });
    },
  }],
  [VHOST_USER_BACKEND.VRING_CALL, {
    handler: "vringCall",
    size: vringState.size,
    fds: 0,
    run: (to, { payload }) => to.vringCall!(vringState.decode(payload).index),
  }],
  [VHOST_USER_BACKEND.VRING_ERR, {
    handler: "vringErr",
    size: vringState.size,
    fds: 0,
    run: (to, { payload }) => to.vringErr!(vringState.decode(payload).index),
  }],
  [VHOST_USER_BACKEND.SHARED_OBJECT_ADD, {
    handler: "sharedObjectAdd",
    size: SHARED_OBJECT_SIZE,
    fds: 0,
    run: (to, { payload }) => to.sharedObjectAdd!(payload),
  }],
  [VHOST_USER_BACKEND.SHARED_OBJECT_REMOVE, {
    handler: "sharedObjectRemove",
    size: SHARED_OBJECT_SIZE,
    fds: 0,
    run: (to, { payload }) => to.sharedObjectRemove!(payload),
  }],
  [VHOST_USER_BACKEND.SHARED_OBJECT_LOOKUP, {
    handler: "sharedObjectLookup",
    size: SHARED_OBJECT_SIZE,
    fds: 0,
    answersFd: true,
    run: (to, { payload }) => to.sharedObjectLookup!(payload),
  }],
  [VHOST_USER_BACKEND.SHMEM_MAP, {
    handler: "sharedMemoryMap",
    size: sharedMemoryMap.size,
    fds: 1,
    run: (to, { payload, fds }) =>
      to.sharedMemoryMap!(sharedMemoryMap.decode(payload), fds.shift()!),
  }],
  [VHOST_USER_BACKEND.SHMEM_UNMAP, {
    handler: "sharedMemoryUnmap",
    size: sharedMemoryMap.size,
    fds: 0,
    run: (to, { payload }) =>
      to.sharedMemoryUnmap!(sharedMemoryMap.decode(payload)),
  }],
]);

/**
 * Serves the requests of a back-end until it hangs up, or until what it sends
 * can't be told apart into messages any more. The main socket lives on.
 */
export class FrontendRequests implements Disposable {
  readonly #channel: Channel;
  readonly #handlers: BackendHandlers;
  #refusals = 0;
  #closed = false;

  /** Takes over `socket` and serves it. */
  constructor(
    socket: UnixSocket,
    reactor: Reactor,
    handlers: BackendHandlers,
  ) {
    this.#channel = new Channel(socket, reactor);
    this.#handlers = handlers;
    void this.#serve();
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#channel[Symbol.dispose]();
  }

  async #serve(): Promise<void> {
    try {
      while (!this.#closed) {
        const message = await this.#channel.receive();
        if (message === null) break;
        try {
          await this.#answer(message);
        } finally {
          closeFds(message.fds);
        }
      }
    } catch (error) {
      // Closed while a handler was at work, there is nobody to answer.
      if (!this.#closed) {
        log.warn(`The channel from the back-end failed: ${error}`);
      }
    }
    this[Symbol.dispose]();
  }

  async #answer(message: Message): Promise<void> {
    const { request, flags } = message;
    // Nothing is asked on this socket, so that nothing is to be answered.
    if ((flags & VHOST_USER_REPLY_MASK) !== 0) return;
    const row = ROWS.get(request);
    const wanted = (flags & VHOST_USER_NEED_REPLY_MASK) !== 0 ||
      row?.answersFd === true;
    let answer: Answer;
    try {
      answer = await this.#run(row, message);
    } catch (error) {
      if (this.#refusals++ < LOGGED_REFUSALS) {
        log.warn(`${backendRequestName(request)} refused: ${error}`);
      }
      if (wanted) await this.#channel.send(request, REPLY_FLAGS, NACK);
      return;
    }
    if (!wanted) return;
    const found = answer !== null && answer !== undefined;
    const ok = row?.answersFd !== true || found;
    await this.#channel.send(
      request,
      REPLY_FLAGS,
      ok ? ACK : NACK,
      found ? [answer as BorrowedFd] : [],
    );
  }

  #run(row: Row | undefined, message: Message): Promise<Answer> | Answer {
    if (row === undefined || this.#handlers[row.handler] === undefined) {
      throw new ProtocolError("Nobody handles it");
    }
    const { payload, fds } = message;
    if (payload.length !== row.size) {
      throw new ProtocolError(
        `It came with ${payload.length} bytes of payload, ${row.size} are ` +
          "wanted",
      );
    }
    let count = row.fds;
    if (count === "vring") count = vringFd.decode(payload).noFd ? 0 : 1;
    if (fds.length !== count) {
      throw new ProtocolError(
        `It came with ${fds.length} descriptors, ${count} are wanted`,
      );
    }
    return row.run(this.#handlers, message);
  }
}
