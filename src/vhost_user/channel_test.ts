import {
  assertEquals,
  assertGreater,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { ProtocolError, SystemError } from "../errors.ts";
import { EAGAIN } from "../ffi/abi.ts";
import { EventFd } from "../io/event_fd.ts";
import { Fd } from "../io/fd.ts";
import { CancelledError, Reactor } from "../io/reactor.ts";
import { type Received, UnixSocket } from "../io/unix_socket.ts";
import { Channel } from "./channel.ts";

const NOTHING = new Uint8Array(0);

async function withChannels(
  body: (a: Channel, b: Channel, sockets: UnixSocket[]) => Promise<void>,
): Promise<void> {
  await using reactor = new Reactor();
  const sockets = UnixSocket.pair();
  using a = new Channel(sockets[0], reactor);
  using b = new Channel(sockets[1], reactor);
  await body(a, b, sockets);
}

Deno.test("a message arrives with its payload and descriptors", async () => {
  await withChannels(async (a, b) => {
    using event = EventFd.open();
    await a.send(12, 1, Uint8Array.of(1, 2, 3), [event.fd, event.fd]);
    await a.send(1, 9, NOTHING);
    const first = (await b.receive())!;
    assertEquals([first.request, first.flags], [12, 1]);
    assertEquals([...first.payload], [1, 2, 3]);
    assertEquals(first.fds.length, 2);
    for (const fd of first.fds) fd.close();
    const second = (await b.receive())!;
    assertEquals([second.request, second.flags], [1, 9]);
    assertEquals([second.payload.length, second.fds.length], [0, 0]);
  });
});

Deno.test("a peer that sends without end leaves everybody else a turn", async () => {
  await withChannels(async (a, b) => {
    const all = 200;
    for (let i = 0; i < all; i++) await a.send(3, 1, NOTHING);
    let turns = 0;
    let ended = false;
    const others = () => {
      turns++;
      if (!ended) setImmediate(others);
    };
    setImmediate(others);
    for (let i = 0; i < all; i++) assertEquals((await b.receive())!.request, 3);
    ended = true;
    assertGreater(turns, 2);
  });
});

Deno.test("a receiver that is interrupted while others have their turn says so", async () => {
  await withChannels(async (a, b) => {
    for (let i = 0; i < 100; i++) await a.send(3, 1, NOTHING);
    const receiving = (async () => {
      for (;;) await b.receive();
    })();
    const interrupting = new Promise<void>((resolve) => {
      setImmediate(() => resolve(b.interrupt()));
    });
    await assertRejects(() => receiving, CancelledError);
    await interrupting;
  });
});

Deno.test("a message goes out in one piece, its descriptors with it", async () => {
  await withChannels(async (a, _b, [, raw]) => {
    using event = EventFd.open();
    await a.send(12, 1, new Uint8Array(100), [event.fd]);
    const received = raw!.receive(new Uint8Array(1000));
    assertEquals([received.size, received.fds.length], [112, 1]);
    for (const fd of received.fds) fd.close();
  });
});

Deno.test("a message larger than the socket's buffer goes out in the end", async () => {
  await withChannels(async (a, b) => {
    using event = EventFd.open();
    const received: number[] = [];
    const reading = (async () => {
      for (let i = 0; i < 400; i++) {
        const message = (await b.receive())!;
        received.push(message.payload[4095]!);
        assertEquals(message.fds.length, 1);
        message.fds[0]!.close();
      }
    })();
    for (let i = 0; i < 400; i++) {
      await a.send(1, 1, new Uint8Array(4096).fill(i), [event.fd]);
    }
    await reading;
    assertEquals(received, Array.from({ length: 400 }, (_, i) => i & 0xff));
  });
});

Deno.test("the end between two messages is null, within one an error", async () => {
  await withChannels(async (a, b) => {
    await a.send(1, 1, NOTHING);
    a[Symbol.dispose]();
    assertEquals((await b.receive())!.request, 1);
    assertEquals(await b.receive(), null);
  });
  await withChannels(async (a, b) => {
    await a.sendRaw(new Uint8Array(5));
    a[Symbol.dispose]();
    const error = await assertRejects(() => b.receive(), ProtocolError);
    assertStringIncludes(error.message, "after 5 of 12 bytes");
  });
});

Deno.test("a peer that is gone can't be sent to", async () => {
  await withChannels(async (a, b) => {
    b[Symbol.dispose]();
    const error = await assertRejects(
      () => a.send(1, 1, NOTHING),
      SystemError,
    );
    assertEquals(error.code, "EPIPE");
  });
});

Deno.test("interrupt fails who waits, and who would wait later", async () => {
  await withChannels(async (a) => {
    const waiting = assertRejects(() => a.receive(), CancelledError);
    a.interrupt();
    await waiting;
    await assertRejects(() => a.receive(), CancelledError);
    // What needs no wait still works.
    await a.send(1, 1, NOTHING);
  });
});

/** A socket whose `receive` answers what it is told. */
function fakeSocket(answers: Received[]): UnixSocket {
  const socket: Pick<UnixSocket, "fd" | "receive"> = {
    fd: new Fd(-1),
    receive(into) {
      const answer = answers.shift() ??
        { size: -EAGAIN, fds: [], truncated: false };
      if (answer.size > 0) into.fill(1, 0, answer.size);
      return answer;
    },
  };
  return socket as UnixSocket;
}

Deno.test("[H05] MSG_CTRUNC ends the stream and closes what did arrive", async () => {
  await using reactor = new Reactor();
  const fds = [EventFd.open().fd, EventFd.open().fd];
  const channel = new Channel(
    fakeSocket([
      { size: 4, fds: [fds[0]!], truncated: false },
      { size: 4, fds: [fds[1]!], truncated: true },
    ]),
    reactor,
  );
  const error = await assertRejects(() => channel.receive(), ProtocolError);
  assertStringIncludes(error.message, "lost descriptors");
  assertEquals(fds.map((fd) => fd.number), [-1, -1]);
});
