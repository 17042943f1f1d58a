/**
 * A back-end that answers each message as a test says, over a socket pair.
 *
 * @module
 */
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import {
  Channel,
  closeFds,
  type Message,
} from "../../src/vhost_user/channel.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";

/** Runs `body` against a back-end that answers each request by `answer`. */
export async function withBackend(
  answer: (message: Message, channel: Channel) => Promise<void> | void,
  body: (frontend: Frontend, reactor: Reactor) => Promise<void>,
): Promise<void> {
  await using reactor = new Reactor();
  const [ours, theirs] = UnixSocket.pair();
  const channel = new Channel(ours, reactor);
  const frontend = Frontend.fromSocket(theirs, reactor);
  const serving = (async () => {
    for (;;) {
      const message = await channel.receive().catch(() => null);
      if (message === null) break;
      try {
        await answer(message, channel);
      } finally {
        closeFds(message.fds);
      }
    }
    channel[Symbol.dispose]();
  })();
  try {
    await body(frontend, reactor);
  } finally {
    frontend[Symbol.dispose]();
    channel[Symbol.dispose]();
    await serving;
  }
}
