/**
 * The thread of a data plane: it blocks in its loop, and comes back to its
 * event loop only for the messages that its mailbox announces.
 *
 * @module
 */
import type { OpenDataDevice } from "../device/device.ts";
import { clearEventFd } from "../io/event_fd.ts";
import { hasRoom, STDERR } from "../io/fd.ts";
import { leaveWarnOnce, loseLinesUnless, setLogLevel } from "../log.ts";
import type { RingCounters } from "./command.ts";
import { Crowd } from "./crowd.ts";
import { DataPlane, type OpenRing } from "./data_plane.ts";
import { runUntilMailbox } from "./loop.ts";
import {
  type Acknowledgement,
  type MailboxMessage,
  type MissNotice,
  packError,
  type WorkerStart,
} from "./mailbox.ts";
import { openUring } from "./open_uring.ts";
import { Spinner } from "./spinner.ts";

/** One thread: its rings, and the messages it owes an answer. */
class PlaneThread {
  // Typed so that a program without the types of workers can import us.
  readonly #scope = self as unknown as Pick<Worker, "postMessage">;
  #spinner: Spinner | null = null;
  readonly #open: OpenDataDevice;
  #plane: DataPlane | null = null;
  #openRing: OpenRing | null = null;
  /** While what opens rings is loaded: the message that needs it, and later ones. */
  #held: MailboxMessage[] | null = null;
  #eventFd = -1;
  /** Messages that were announced, less those that were handled. */
  #announced = 0;

  constructor(open: OpenDataDevice) {
    this.#open = open;
  }

  /** Handles a message, then goes back to the rings. */
  receive(message: MailboxMessage): void {
    if (this.#held !== null) {
      this.#held.push(message);
      return;
    }
    const isStart = message.kind === "command" &&
      message.command.kind === "startVring";
    if (isStart && this.#openRing === null) {
      this.#held = [];
      // A thread without a driver does not hold the code of rings: 1 MiB.
      import("../virtqueue/open.ts").then(
        ({ openVirtqueue }) => this.#loaded(message, openVirtqueue),
        (error) =>
          this.#loaded(message, () => {
            throw error;
          }),
      );
      return;
    }
    this.#handle(message);
    this.#announced--;
    this.#serve();
  }

  /** Goes on with what waited for that. */
  #loaded(first: MailboxMessage, openRing: OpenRing): void {
    const held = this.#held!;
    this.#held = null;
    this.#openRing = openRing;
    this.receive(first);
    // They were announced too, so the thread comes back from its rings.
    for (const message of held) this.receive(message);
  }

  #serve(): void {
    const plane = this.#plane;
    // Not to the rings while a message that was announced is still to come.
    while (this.#plane !== null && this.#announced <= 0) {
      runUntilMailbox(plane!, this.#spinner!);
      plane!.waiter.mailboxSignalled = false;
      this.#announced += clearEventFd(this.#eventFd);
    }
  }

  #handle(message: MailboxMessage): void {
    if (message.kind === "open") {
      try {
        this.#start(message.start);
        this.#acknowledge(message.id, 0);
      } catch (error) {
        this.#acknowledge(message.id, 0, error as Error);
      }
      return;
    }
    this.#plane!.run(message.command, (result, error, rings) => {
      this.#acknowledge(message.id, result, error, rings);
    });
    if (message.command.kind === "close") this.#plane = null;
  }

  #start(start: WorkerStart): void {
    setLogLevel(start.logLevel);
    loseLinesUnless(() => hasRoom(STDERR));
    if (!start.speaks) leaveWarnOnce();
    const { seed, ringCount, eventFd } = start;
    const uring = start.useUring ? openUring(true) : null;
    const plane = new DataPlane(
      this.#open,
      seed,
      uring,
      ringCount,
      (config, memory) => this.#openRing!(config, memory),
    );
    plane.waiter.watchMailbox(eventFd);
    plane.tellMiss = (miss) => {
      this.#scope.postMessage({ miss } satisfies MissNotice);
    };
    this.#eventFd = eventFd;
    this.#plane = plane;
    const crowd = new Crowd(start.crowd);
    crowd.join();
    this.#spinner = new Spinner(crowd);
  }

  #acknowledge(
    id: number,
    result: number,
    error?: Error,
    rings: RingCounters[] = [],
  ): void {
    const failure = error === undefined ? null : packError(error);
    const answer: Acknowledgement = { id, result, failure, rings };
    this.#scope.postMessage(answer);
  }
}

/**
 * Makes this worker the thread of a data plane for the device whose data side
 * `open` makes. Called by the module that `workerUrl` names.
 */
export function runWorker(open: OpenDataDevice): void {
  const thread = new PlaneThread(open);
  self.addEventListener("message", (event) => {
    thread.receive((event as MessageEvent<MailboxMessage>).data);
  });
}
