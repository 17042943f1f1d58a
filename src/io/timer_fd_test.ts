import { assertEquals, assertGreater } from "@std/assert";
import { Reactor } from "./reactor.ts";
import { TimerFd } from "./timer_fd.ts";

async function expired(timer: TimerFd): Promise<number> {
  await Reactor.main.readable(timer.fd.number);
  return timer.expirations();
}

Deno.test("a timer expires once, or again and again until it is stopped", async () => {
  using timer = TimerFd.open();
  assertEquals(timer.expirations(), 0);
  timer.start(1, 0);
  assertEquals(await expired(timer), 1);
  assertEquals(timer.expirations(), 0);
  timer.start(1, 1);
  for (let i = 0; i < 3; i++) assertGreater(await expired(timer), 0);
  timer.stop();
  assertEquals(timer.expirations(), 0);
  await Reactor.main.idle();
});

Deno.test("a timer that is started anew forgets what it was started with", async () => {
  using timer = TimerFd.open();
  timer.start(1, 1);
  await Reactor.main.readable(timer.fd.number);
  timer.start(2 ** 32 - 1, 0);
  assertEquals(timer.expirations(), 0);
  timer.start(1, 0);
  assertEquals(await expired(timer), 1);
  await Reactor.main.idle();
});
