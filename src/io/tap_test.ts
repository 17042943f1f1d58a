import { assert, assertEquals } from "@std/assert";
import { canMakeNetns, Netns } from "../../tests/support/netns.ts";
import { requirement } from "../../tests/support/require.ts";

const canMakeTap = requirement("network namespaces with tap", canMakeNetns);

/** Runs `body`, which sees `Tap`, in a namespace; what it prints as JSON. */
function inNetns(netns: Netns, body: string): unknown {
  const base = import.meta.resolve("./");
  const script = `const { Tap } = await import("${base}tap.ts");
    const { TapQueue } = await import("${base}tap_queue.ts");
    const { IovecList } = await import("${base}iovec.ts");
    const { Mapping } = await import("${base}../ffi/mapping.ts");
    const { libc } = await import("${base}../ffi/libc.ts");
    const said = (() => { ${body} })();
    console.log(JSON.stringify(said));`;
  const path = Deno.makeTempFileSync({ suffix: ".js" });
  try {
    Deno.writeTextFileSync(path, script);
    const text = netns.run(
      ...[Deno.execPath(), "run", "--quiet", "--no-check", "--allow-ffi"],
      "--allow-read",
      path,
    );
    return JSON.parse(text);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test({
  name: "an interface is made, asked for its MTU, and gone with its owner",
  ignore: !canMakeTap,
  fn() {
    using netns = new Netns();
    const said = inNetns(
      netns,
      `using tap = Tap.open("t%d", 1);
       return [tap.name, tap.mtu(), tap.isAttached(), tap.offloads & 7];`,
    );
    assertEquals(said, ["t0", 1500, true, 7]);
    assert(!netns.run("ip", "link").includes("t0"));
  },
});

Deno.test({
  name: "queues of a persistent interface, and descriptors of them",
  ignore: !canMakeTap,
  fn() {
    using netns = new Netns();
    netns.addTap("t0", "192.0.2.1/24", "multi_queue");
    const said = inNetns(
      netns,
      `const tap = Tap.open("t0", 3);
       const one = Tap.fromFds([tap.queues[0].duplicate().release()]);
       const queue = new TapQueue(tap.queues[1].number);
       const switched = [queue.attach(true), queue.attach(false)];
       return [tap.name, tap.queues.length, one.name, switched];`,
    );
    assertEquals(said, ["t0", 3, "t0", [0, 0]]);
    assert(netns.run("ip", "link").includes("t0"));
  },
});

Deno.test({
  name: "an interface has room always, unless somebody set a limit",
  ignore: !canMakeTap,
  fn() {
    using netns = new Netns();
    const said = inNetns(
      netns,
      `using tap = Tap.open("t0", 1);
       const { number } = tap.queues[0];
       using queue = new TapQueue(number);
       const before = queue.hasRoom;
       const TUNSETSNDBUF = 0x400454d4;
       libc.ioctl(number, TUNSETSNDBUF, Int32Array.of(65536));
       return [before, queue.hasRoom];`,
    );
    assertEquals(said, [true, false]);
  },
});

Deno.test({
  name: "an interface that was removed can be had again",
  ignore: !canMakeTap,
  fn() {
    using netns = new Netns();
    const said = inNetns(
      netns,
      `using tap = Tap.open("t0", 2);
       using second = Tap.open("t1", 1);
       const gone = Tap.open("t2", 1);
       gone[Symbol.dispose]();
       return [tap.reattach(), tap.isAttached(), second.isAttached()];`,
    );
    assertEquals(said, [true, true, true]);
  },
});

Deno.test({
  name: "a frame is written, and -EIO while the interface is down",
  ignore: !canMakeTap,
  fn() {
    using netns = new Netns();
    netns.addTap("t0", "192.0.2.1/24");
    netns.run("ip", "link", "set", "t0", "down");
    const said = inNetns(
      netns,
      `using tap = Tap.open("t0", 1);
       using queue = new TapQueue(tap.queues[0].number);
       using list = new IovecList(2);
       using memory = Mapping.anonymous(4096);
       list.set(0, memory.address, 12);
       list.set(1, memory.address + 12, 60);
       return [queue.send(list, 2), queue.receive(list, 0, 2)];`,
    );
    assertEquals(said, [-5, -11]);
  },
});
