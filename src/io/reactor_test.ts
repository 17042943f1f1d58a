import { assert, assertEquals, assertRejects } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError } from "../errors.ts";
import { EventFd } from "./event_fd.ts";
import { createMemfd } from "./memfd.ts";
import { CancelledError, Reactor } from "./reactor.ts";
import { UnixSocket } from "./unix_socket.ts";

Deno.test("readable resolves when there is something to read", async () => {
  await using reactor = new Reactor();
  using event = EventFd.open();
  let ready = false;
  const wait = reactor.readable(event.fd.number).then(() => ready = true);
  await Promise.resolve();
  assertEquals(ready, false);
  event.signal();
  await wait;
  assertEquals(event.clear(), true);
});

Deno.test("waiters added while it is parked are served", async () => {
  await using reactor = new Reactor();
  using first = EventFd.open();
  using second = EventFd.open();
  const never = reactor.readable(first.fd.number);
  for (let i = 0; i < 50; i++) {
    const wait = reactor.readable(second.fd.number);
    second.signal();
    await wait;
    assertEquals(second.clear(), true);
  }
  first.signal();
  await never;
});

Deno.test("several wait for one descriptor, in both directions", async () => {
  await using reactor = new Reactor();
  const [one, two] = UnixSocket.pair();
  using _one = one;
  using _two = two;
  const { number } = one.fd;
  const order: string[] = [];
  const reads = [reactor.readable(number), reactor.readable(number)]
    .map((wait) => wait.then(() => order.push("read")));
  await reactor.writable(number).then(() => order.push("write"));
  two.send(Uint8Array.of(1));
  await Promise.all(reads);
  assertEquals(order, ["write", "read", "read"]);
});

Deno.test("a peer that leaves wakes readers and writers", async () => {
  await using reactor = new Reactor();
  const [one, two] = UnixSocket.pair();
  using _one = one;
  while (one.send(new Uint8Array(65536)) > 0);
  const waits = [
    reactor.readable(one.fd.number),
    reactor.writable(one.fd.number),
  ];
  two[Symbol.dispose]();
  await Promise.all(waits);
});

Deno.test("cancel rejects every waiter, and the descriptor may be closed", async () => {
  await using reactor = new Reactor();
  const [one, two] = UnixSocket.pair();
  using _two = two;
  const { number } = one.fd;
  while (one.send(new Uint8Array(65536)) > 0);
  const waits = [reactor.readable(number), reactor.writable(number)];
  reactor.cancel(number);
  reactor.cancel(number);
  one[Symbol.dispose]();
  for (const wait of waits) await assertRejects(() => wait, CancelledError);
});

Deno.test("a number that is reused is a new descriptor", async () => {
  await using reactor = new Reactor();
  for (let i = 0; i < 20; i++) {
    using event = EventFd.open();
    const { number } = event.fd;
    const wait = reactor.readable(number);
    if (i % 2 === 0) {
      reactor.cancel(number);
      await assertRejects(() => wait, CancelledError);
    } else {
      event.signal();
      await wait;
    }
  }
});

Deno.test("a regular file is always ready, a closed descriptor is an error", async () => {
  await using reactor = new Reactor();
  using file = createMemfd("test", 1);
  await reactor.readable(file.number);
  await reactor.writable(file.number);
  await assertRejects(() => reactor.readable(-1), SystemError, "EBADF");
});

Deno.test("a descriptor that is closed under a waiter rejects the next one", async () => {
  await using reactor = new Reactor();
  const event = EventFd.open();
  const { number } = event.fd;
  const forgotten = reactor.readable(number);
  event.fd.close();
  const next = reactor.readable(number);
  await assertRejects(() => forgotten, SystemError, "EBADF");
  await assertRejects(() => next, SystemError, "EBADF");
});

Deno.test("disposing leaves neither descriptors nor a wait behind", async () => {
  const before = openDescriptors();
  const reactor = new Reactor();
  using event = EventFd.open();
  const wait = reactor.readable(event.fd.number);
  const rejected = assertRejects(() => wait, CancelledError);
  await reactor[Symbol.asyncDispose]();
  await rejected;
  event.fd.close();
  assertEquals(openDescriptors(), before);
});

Deno.test("without waiters nothing keeps the process alive", async () => {
  const modules = ["reactor", "event_fd"]
    .map((name) => import.meta.resolve(`./${name}.ts`));
  const script = `
    import { Reactor } from "${modules[0]}";
    import { EventFd } from "${modules[1]}";
    const event = EventFd.open();
    const wait = Reactor.main.readable(event.fd.number);
    queueMicrotask(() => Reactor.main.cancel(event.fd.number));
    await wait.catch((error) => console.log(error.name));
  `;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, script);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--allow-ffi", path],
      stdout: "piped",
      stderr: "inherit",
    });
    const { success, stdout } = await child.output();
    assert(success);
    assertEquals(new TextDecoder().decode(stdout), "CancelledError\n");
  } finally {
    await Deno.remove(path);
  }
});
