import { assert, assertEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError, UsageError } from "../errors.ts";
import { AF_UNIX, EAGAIN, F_GETFD, SCM_MAX_FD } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { fileStatus } from "../ffi/status.ts";
import { Fd } from "./fd.ts";
import { createMemfd } from "./memfd.ts";
import { Reactor } from "./reactor.ts";
import { isListening, UnixListener, UnixSocket } from "./unix_socket.ts";

const SOCK_DGRAM = 2;

function folder(): { path: string } & Disposable {
  const path = Deno.makeTempDirSync();
  const remove = () => Deno.removeSync(path, { recursive: true });
  return { path, [Symbol.dispose]: remove };
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** `count` memfds of 1, 2, 3 ... bytes. */
function memfds(count: number): Fd[] {
  return Array.from({ length: count }, (_, i) => createMemfd("test", i + 1));
}

function closeAll(fds: Fd[]): void {
  for (const fd of fds) fd.close();
}

Deno.test("bytes go both ways, in whatever pieces are asked for", () => {
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  assertEquals(one.send(new TextEncoder().encode("hello")), 5);
  const into = new Uint8Array(16);
  assertEquals(two.receive(into.subarray(8, 10)).size, 2);
  assertEquals(two.receive(into.subarray(10)).size, 3);
  assertEquals(text(into.subarray(8, 13)), "hello");
  assertEquals(two.receive(into), {
    size: -EAGAIN,
    fds: [],
    truncated: false,
  });
  assertEquals(two.send(Uint8Array.of(7)), 1);
  assertEquals(one.receive(into).size, 1);
  assertEquals(into[0], 7);
});

Deno.test("the end is 0, also where the peer left bytes unread", () => {
  const into = new Uint8Array(16);
  for (const unread of [false, true]) {
    const [one, two] = UnixSocket.pair();
    using _two = two;
    if (unread) two.send(Uint8Array.of(1));
    one[Symbol.dispose]();
    assertEquals(two.receive(into).size, 0);
    assertEquals(two.receive(into).size, 0);
    assertThrows(() => two.send(Uint8Array.of(1)), SystemError, "EPIPE");
  }
});

Deno.test("a shutdown is the end for the peer", () => {
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  one.send(Uint8Array.of(1));
  one.shutdown();
  const into = new Uint8Array(16);
  assertEquals(two.receive(into).size, 1);
  assertEquals(two.receive(into).size, 0);
});

Deno.test("a full socket takes a part, then nothing", () => {
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  let taken = 0;
  for (;;) {
    const size = one.send(new Uint8Array(1_000_000));
    if (size === -EAGAIN) break;
    assert(size > 0);
    taken += size;
  }
  let received = 0;
  const into = new Uint8Array(1 << 20);
  while (received < taken) received += two.receive(into).size;
  assertEquals(received, taken);
  assertEquals(two.receive(into).size, -EAGAIN);
});

Deno.test("descriptors come along, in order, close-on-exec, as our own", () => {
  const before = openDescriptors();
  {
    const [one, two] = UnixSocket.pair();
    using _one = one;
    using _two = two;
    for (const count of [1, 2, 3, 8, 9, 100, SCM_MAX_FD]) {
      const sent = memfds(count);
      const mixed = sent.map((fd, i) => i % 2 === 0 ? fd : fd.number);
      assertEquals(one.send(Uint8Array.of(count), mixed), 1);
      closeAll(sent);
      const { size, fds, truncated } = two.receive(new Uint8Array(9));
      assertEquals([size, truncated], [1, false]);
      const sizes = fds.map((fd) => fileStatus(fd.number).size);
      assertEquals(sizes, Array.from({ length: count }, (_, i) => i + 1));
      for (const fd of fds) {
        assertEquals(libc.fcntl(fd.number, F_GETFD, 0), 1);
      }
      closeAll(fds);
    }
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("descriptors travel with the first byte of their message", () => {
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  const sent = memfds(2);
  one.send(Uint8Array.of(1, 2));
  one.send(Uint8Array.of(3, 4), sent);
  one.send(Uint8Array.of(5, 6));
  closeAll(sent);
  // The kernel ends a read after bytes that carry descriptors.
  const first = two.receive(new Uint8Array(3));
  assertEquals([first.size, first.fds.length], [3, 2]);
  closeAll(first.fds);
  assertEquals(two.receive(new Uint8Array(9)), {
    size: 3,
    fds: [],
    truncated: false,
  });
  one.send(Uint8Array.of(1, 2));
  one.send(Uint8Array.of(3, 4), [one.fd]);
  one.send(Uint8Array.of(5, 6));
  const whole = two.receive(new Uint8Array(9));
  assertEquals([whole.size, whole.fds.length], [4, 1]);
  closeAll(whole.fds);
  assertEquals(two.receive(new Uint8Array(9)).size, 2);
});

Deno.test("more descriptors than are wanted are told and closed by the kernel", () => {
  const before = openDescriptors();
  {
    const [one, two] = UnixSocket.pair();
    using _one = one;
    using _two = two;
    const sent = memfds(5);
    for (const wanted of [1, 2, 3, 4]) {
      one.send(Uint8Array.of(1), sent);
      const { fds, truncated } = two.receive(new Uint8Array(1), wanted);
      assertEquals(truncated, true);
      assertEquals(fds.length, wanted);
      closeAll(fds);
    }
    one.send(Uint8Array.of(1), sent);
    const { fds, truncated } = two.receive(new Uint8Array(1), 5);
    assertEquals([fds.length, truncated], [5, false]);
    closeAll(fds);
    closeAll(sent);
    assertThrows(
      () => one.send(Uint8Array.of(1), new Array(254).fill(0)),
      RangeError,
      "the kernel takes 253",
    );
    assertThrows(() => one.send(Uint8Array.of(1), [-1]), SystemError, "EBADF");
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("descriptors beyond what the process may open are truncated", async () => {
  const script = `
    import { UnixSocket } from "${import.meta.resolve("./unix_socket.ts")}";
    import { EventFd } from "${import.meta.resolve("./event_fd.ts")}";
    const [one, two] = UnixSocket.pair();
    const held = [];
    for (let i = 0; i < 10; i++) held.push(EventFd.open());
    one.send(Uint8Array.of(1), held.map((event) => event.fd));
    try {
      for (;;) held.push(EventFd.open());
    } catch (error) {
      console.log(error.code);
    }
    for (let i = 0; i < 4; i++) held.pop().fd.close();
    const { size, fds, truncated } = two.receive(new Uint8Array(1));
    console.log(size, fds.length, truncated);
  `;
  using temporary = folder();
  const path = `${temporary.path}/child.ts`;
  Deno.writeTextFileSync(path, script);
  const deno = Deno.execPath();
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      'ulimit -n 128; exec "$0" run --no-check --allow-ffi "$1"',
      deno,
      path,
    ],
    stderr: "inherit",
  });
  const { stdout } = await child.output();
  assertEquals(text(stdout), "EMFILE\n1 4 true\n");
});

Deno.test("a listener accepts, one connection after another", async () => {
  await using reactor = new Reactor();
  using temporary = folder();
  const path = `${temporary.path}/socket`;
  using listener = UnixListener.bind(path);
  assertEquals(listener.accept(), null);
  for (let i = 0; i < 3; i++) {
    const wait = reactor.readable(listener.fd.number);
    using client = UnixSocket.connect(path);
    await wait;
    using server = listener.accept()!;
    client.send(Uint8Array.of(i));
    const into = new Uint8Array(1);
    await reactor.readable(server.fd.number);
    assertEquals(server.receive(into).size, 1);
    assertEquals(into[0], i);
    assertEquals(server.receive(into).size, -EAGAIN);
  }
});

Deno.test("closing a listener removes its socket, and no other", () => {
  using temporary = folder();
  const path = `${temporary.path}/socket`;
  const first = UnixListener.bind(path);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);

  const replaced = UnixListener.bind(path);
  Deno.removeSync(path);
  using second = UnixListener.bind(path);
  replaced[Symbol.dispose]();
  assertEquals(Deno.lstatSync(path).isSocket, true);
  using _client = UnixSocket.connect(path);
  using accepted = second.accept()!;
  assertEquals(accepted.receive(new Uint8Array(1)).size, -EAGAIN);
});

Deno.test("a stale socket is replaced", () => {
  const before = openDescriptors();
  {
    using temporary = folder();
    const path = `${temporary.path}/socket`;
    // A server that was killed leaves its socket behind.
    using dead = UnixListener.bind(path);
    dead.fd.close();
    assertEquals(Deno.lstatSync(path).isSocket, true);
    assertThrows(
      () => UnixSocket.connect(path),
      SystemError,
      "start the server",
    );
    using listener = UnixListener.bind(path);
    using _client = UnixSocket.connect(path);
    using accepted = listener.accept()!;
    assertEquals(accepted.receive(new Uint8Array(1)).size, -EAGAIN);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("who can't be connected to is told from who is not there", () => {
  using temporary = folder();
  const { path } = temporary;
  const says = (at: string, part: string) =>
    assertThrows(() => UnixSocket.connect(at), SystemError, part);
  says(path, "it is a directory, name a socket");
  Deno.writeTextFileSync(`${path}/file`, "");
  says(`${path}/file`, "it is a regular file, name a socket");
  says(`${path}/none`, "start the server");
  assertEquals(UnixSocket.tryConnect(`${path}/none`), null);
  // That will never listen.
  assertThrows(() => UnixSocket.tryConnect(`${path}/file`), SystemError);
  using datagrams = new Fd(libc.socket(AF_UNIX, SOCK_DGRAM, 0));
  const name = new TextEncoder().encode(`${path}/datagrams\0`);
  const address = Uint8Array.of(AF_UNIX, 0, ...name);
  assertEquals(libc.bind(datagrams.number, address, address.length), 0);
  says(`${path}/datagrams`, "it is a socket of another kind");
  using _listener = UnixListener.bind(`${path}/busy`);
  using waiting = new DisposableStack();
  for (let next; (next = UnixSocket.tryConnect(`${path}/busy`)) !== null;) {
    waiting.use(next);
  }
  says(`${path}/busy`, "too many are waiting");
});

Deno.test("a live socket, or what is no socket, is left alone", () => {
  using temporary = folder();
  const path = `${temporary.path}/socket`;
  {
    using _live = UnixListener.bind(path);
    assertThrows(
      () => UnixListener.bind(path),
      SystemError,
      "another server listens there",
    );
  }
  Deno.writeTextFileSync(path, "precious");
  assertThrows(
    () => UnixListener.bind(path),
    SystemError,
    "there is a regular file already",
  );
  assertEquals(Deno.readTextFileSync(path), "precious");
  const nested = `${temporary.path}/none/socket`;
  assertThrows(() => UnixListener.bind(nested), SystemError, "ENOENT");
});

Deno.test("a path of 107 bytes is taken, one of 108 refused with a remedy", () => {
  using temporary = folder();
  const rest = 107 - temporary.path.length - 1;
  const longest = `${temporary.path}/${"x".repeat(rest)}`;
  using _listener = UnixListener.bind(longest);
  using _client = UnixSocket.connect(longest);
  for (const call of [UnixListener.bind, UnixSocket.connect]) {
    assertThrows(
      () => call(longest + "x"),
      UsageError,
      "108 bytes long, wanted at most 107: choose a shorter path",
    );
    assertThrows(() => call(""), UsageError, "is empty");
  }
});

Deno.test("descriptors are told apart: listening, connected, neither", () => {
  using temporary = folder();
  const path = `${temporary.path}/socket`;
  using bound = UnixListener.bind(path);
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  assertEquals(isListening(bound.fd), true);
  assertEquals(isListening(one.fd), false);
  assertThrows(() => UnixSocket.fromFd(bound.fd), UsageError, "is a listening");
  assertThrows(() => UnixListener.fromFd(one.fd), UsageError, "is a connected");
  using file = createMemfd("test", 1);
  assertThrows(() => isListening(file), UsageError, "is not an open socket");
  assertThrows(() => isListening(new Fd(-1)), UsageError, "not an open socket");
  using internet = new Fd(libc.socket(2, 1, 0));
  assertThrows(() => isListening(internet), UsageError, "another kind");
  using alone = new Fd(libc.socket(1, 1, 0));
  for (const call of [isListening, UnixSocket.fromFd, UnixListener.fromFd]) {
    assertThrows(
      () => call(alone),
      UsageError,
      "neither listens nor is connected",
    );
  }
  two[Symbol.dispose]();
  assertEquals(isListening(one.fd), false);
  UnixSocket.connect(path)[Symbol.dispose]();
  using left = bound.accept()!;
  assertEquals(left.receive(new Uint8Array(1)).size, 0);
  using datagram = new Fd(libc.socket(1, 2, 0));
  assertThrows(() => isListening(datagram), UsageError, "another kind");
});

Deno.test("a taken-over listener does not remove its socket", () => {
  using temporary = folder();
  const path = `${temporary.path}/socket`;
  using bound = UnixListener.bind(path);
  {
    using taken = UnixListener.fromFd(bound.fd.duplicate());
    assertEquals(taken.path, "");
    using _client = UnixSocket.connect(path);
    using accepted = taken.accept()!;
    assertEquals(accepted.receive(new Uint8Array(1)).size, -EAGAIN);
  }
  assertEquals(Deno.lstatSync(path).isSocket, true);
});

Deno.test("a taken-over blocking socket does not block", () => {
  const fds = new Int32Array(2);
  assertEquals(libc.socketpair(1, 1, 0, fds), 0);
  using socket = UnixSocket.fromFd(new Fd(fds[0]!));
  using _other = new Fd(fds[1]!);
  assertEquals(socket.receive(new Uint8Array(1)).size, -EAGAIN);
});
