/**
 * DPDK as the driver: a foreign one, which polls, knows no event index, and
 * puts headers and frames where it likes.
 *
 * `RINGSIDE_DPDK_FRAMES` says how many frames go round on the loopback.
 */
import { assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { Ringside } from "../support/ringside.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { Testpmd } from "./testpmd.ts";

const hasTestpmd = requirement(
  "dpdk-testpmd (dpdk-dev)",
  () => hasProgram("dpdk-testpmd"),
);
const canMakeTap = requirement("network namespaces with tap", canMakeNetns);
const FRAMES = Number(Deno.env.get("RINGSIDE_DPDK_FRAMES") ?? 300_000);

async function withCard(
  args: readonly string[],
  netns: Netns | null,
  body: (socketPath: string, ringside: Ringside) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ringside-dpdk-" });
  const socketPath = `${directory}/net.sock`;
  try {
    await using ringside = await Ringside.start(
      ["net", "--socket-path", socketPath, ...args],
      netns,
    );
    await body(socketPath, ringside);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Sends frames round until there were so many, then takes back the last ones. */
async function goRound(testpmd: Testpmd, frames: number): Promise<number> {
  await testpmd.command("set fwd io");
  await testpmd.command("start tx_first 4");
  await testpmd.until(({ received }) => received >= frames);
  await testpmd.command("stop");
  await testpmd.command("set fwd rxonly");
  await testpmd.command("start");
  const counts = await testpmd.until(({ received, sent }) => received >= sent);
  await testpmd.command("stop");
  const { received, sent, ...errors } = counts;
  assertEquals(received, sent);
  assertEquals(errors, { receiveErrors: 0, sendErrors: 0, missed: 0 });
  return sent;
}

/** Paths through the driver, on either kind of ring. */
const PATHS = ["packed_vq=0", "packed_vq=1"].flatMap((kind) =>
  ["in_order=0", "in_order=1"].flatMap((order) =>
    ["mrg_rxbuf=1", "mrg_rxbuf=0", "mrg_rxbuf=0,vectorized=1"].map((path) =>
      `,${kind},${order},${path}`
    )
  )
);

/** Each path on one plane, on both where there is time. */
function pathsOn(plane: string): string[] {
  if (Deno.env.has("RINGSIDE_DPDK_FRAMES")) return PATHS;
  const kind = plane === "worker" ? "packed_vq=1" : "packed_vq=0";
  return PATHS.filter((path) => path.includes(kind));
}

/** The rings that `options` ask for, as the back-end says. */
function ringsOf(options: string): string {
  const kind = options.includes("packed_vq=1") ? "packed" : "split";
  const order = options.includes("in_order=0") ? "" : ", in order";
  return `Vring 0 starts: ${kind}, 256 entries${order}\n`;
}

for (const plane of ["inline", "worker"]) {
  for (const options of ["", ...pathsOn(plane)]) {
    Deno.test({
      name:
        `DPDK: ${FRAMES} frames go round, none is lost (${plane}${options})`,
      ignore: !hasTestpmd,
      fn: () =>
        withCard(
          [
            ...["--backend", "loopback", "--data-plane", plane, "--in-order"],
            ...["--log-level", "debug"],
          ],
          null,
          async (socketPath, ringside) => {
            await using testpmd = await Testpmd.start(socketPath, options);
            const frames = options === "" ? FRAMES : FRAMES / 10;
            const sent = await goRound(testpmd, frames);
            await testpmd.quit();
            assertEquals((await ringside.stop()).code, 0);
            assertStringIncludes(ringside.log, ringsOf(options));
            assertStringIncludes(
              ringside.log,
              `net: the guest received ${sent} frames and sent ${sent}; ` +
                "dropped were 0 to it and 0 from it",
            );
          },
        ),
    });
  }

  Deno.test({
    name: `DPDK: what is sent to a tap is there (${plane})`,
    ignore: !hasTestpmd || !canMakeTap,
    async fn() {
      using netns = new Netns();
      netns.addTap("t0", "192.0.2.1/24");
      const received = () => {
        const text = netns.run("ip", "-s", "-j", "link", "show", "t0");
        return JSON.parse(text)[0].stats64.rx.packets as number;
      };
      await withCard(
        ["--ifname", "t0", "--data-plane", plane],
        netns,
        async (socketPath) => {
          await using testpmd = await Testpmd.start(socketPath);
          await testpmd.command("set fwd txonly");
          await testpmd.command("start");
          await testpmd.until(({ sent }) => sent >= FRAMES / 10);
          await testpmd.command("stop");
          const { sent, sendErrors } = await testpmd.counts();
          assertEquals(sendErrors, 0);
          // Those that are in the ring when it stops.
          await testpmd.until(() => received() >= sent);
          assertEquals(received(), sent);
          await testpmd.quit();
        },
      );
    },
  });

  for (const options of ["", ",mrg_rxbuf=0"]) {
    Deno.test({
      name: `DPDK: the kernel pings it through a tap (${plane}${options})`,
      ignore: !hasTestpmd || !canMakeTap || !hasProgram("ping"),
      async fn() {
        using netns = new Netns();
        netns.addTap("t0", "192.0.2.1/24");
        await withCard(
          ["--ifname", "t0", "--data-plane", plane],
          netns,
          async (socketPath) => {
            await using testpmd = await Testpmd.start(socketPath, options);
            await testpmd.command("set fwd icmpecho");
            await testpmd.command("start");
            const text = await netns.start(
              ...["ping", "-q", "-f", "-c", "2000", "-s", "1400"],
              "192.0.2.2",
            );
            assertStringIncludes(text, "2000 received, 0% packet loss");
            assertGreater((await testpmd.counts()).received, 2000);
            await testpmd.command("stop");
            await testpmd.quit();
          },
        );
      },
    });
  }
}
