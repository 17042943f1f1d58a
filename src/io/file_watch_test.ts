import { assert, assertEquals, assertRejects } from "@std/assert";
import { EventFd } from "./event_fd.ts";
import { DiskFile } from "./file.ts";
import { FileWatch } from "./file_watch.ts";
import { createMemfd } from "./memfd.ts";
import { CancelledError, Reactor } from "./reactor.ts";

/** A file of this host, and its watch. */
class Rig implements AsyncDisposable {
  readonly path = Deno.makeTempFileSync({ prefix: "ringside-watch-" });
  readonly file = DiskFile.open(this.path);
  readonly reactor = new Reactor();
  readonly watch = FileWatch.tryOpen(this.file.fd.number, this.reactor)!;

  /** Whether what was waited for has come, by now. */
  async has(wait: Promise<void>): Promise<boolean> {
    let come = false;
    wait.then(() => come = true);
    // What is ready is told of together.
    using later = EventFd.open();
    later.signal();
    await this.reactor.readable(later.fd.number);
    return come;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.watch[Symbol.dispose]();
    this.file[Symbol.dispose]();
    Deno.removeSync(this.path);
    await this.reactor[Symbol.asyncDispose]();
  }
}

Deno.test("a file that others write to or cut is heard of, an idle one is not", async () => {
  await using rig = new Rig();
  assert(rig.watch !== null);
  const first = rig.watch.changed();
  assertEquals(await rig.has(first), false);
  Deno.truncateSync(rig.path, 4096);
  await first;
  assert(rig.watch.arm());
  Deno.writeTextFileSync(rig.path, "text", { append: true });
  await rig.watch.changed();
});

Deno.test("a change is heard once, until the watch is armed again", async () => {
  await using rig = new Rig();
  Deno.truncateSync(rig.path, 1);
  await rig.watch.changed();
  assert(rig.watch.arm());
  const next = rig.watch.changed();
  assertEquals(await rig.has(next), false);
  Deno.truncateSync(rig.path, 2);
  await next;
});

Deno.test("a file without a name is watched, and one that was replaced", async () => {
  await using rig = new Rig();
  Deno.renameSync(rig.path, `${rig.path}.old`);
  Deno.writeTextFileSync(rig.path, "another");
  Deno.truncateSync(`${rig.path}.old`, 8);
  await rig.watch.changed();
  Deno.removeSync(`${rig.path}.old`);
  await using reactor = new Reactor();
  using memory = createMemfd("watched", 4096);
  using watch = FileWatch.tryOpen(memory.number, reactor);
  assert(watch !== null);
});

Deno.test("who waits hears that the watch was closed", async () => {
  await using rig = new Rig();
  const changed = rig.watch.changed();
  const told = assertRejects(() => changed, CancelledError);
  rig.watch[Symbol.dispose]();
  await told;
});

Deno.test("what changes by itself, or is not open, has no watch", async () => {
  await using reactor = new Reactor();
  using status = DiskFile.open("/proc/self/status", { readOnly: true });
  assertEquals(FileWatch.tryOpen(status.fd.number, reactor), null);
  assertEquals(FileWatch.tryOpen(-1, reactor), null);
});
