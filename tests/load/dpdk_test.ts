import { assert, assertEquals } from "@std/assert";
import { Scratch } from "../cli/program.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { eventually } from "../vm/deadline.ts";
import { benchWell } from "./support.ts";

const hasTestpmd = requirement(
  "dpdk-testpmd",
  () => hasProgram("dpdk-testpmd"),
);
const PATIENCE_MS = 60_000;
/** Megabytes of plain memory, without huge pages. */
const MEMORY_MB = 256;

/** DPDK's vhost-user card, which sends back what it gets. */
class VhostCard implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  constructor(socketPath: string) {
    this.#process = new Deno.Command("dpdk-testpmd", {
      args: [
        ...["--no-huge", "-m", String(MEMORY_MB), "--no-pci"],
        "--no-telemetry",
        `--file-prefix=ringside-${crypto.randomUUID().slice(0, 8)}`,
        `--vdev=net_vhost0,iface=${socketPath},queues=1`,
        ...["--", "--rxq=1", "--txq=1", "--port-topology=loop"],
        ...["--total-num-mbufs=4096", "--no-lsc-interrupt"],
      ],
      // At its end testpmd ends too.
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  get pid(): number {
    return this.#process.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#process.stdin.close().catch(() => {});
  }
}

for (const ring of ["split", "packed"]) {
  Deno.test({
    name: `DPDK's card is measured over ${ring} rings`,
    ignore: !hasTestpmd,
    async fn() {
      await using scratch = new Scratch();
      const socket = scratch.file("s");
      await using card = new VhostCard(socket);
      const listens = () =>
        Deno.readTextFileSync("/proc/net/unix").includes(` ${socket}\n`);
      await eventually(listens, PATIENCE_MS, () => "DPDK does not listen");
      const report = await benchWell(scratch, [
        ...["net", "--socket-path", socket, "--ring", ring],
        ...["--requests", "100000", "--size", "64,1514", "--warm-up", "1"],
        ...["--backend-pid", String(card.pid)],
      ]);
      assertEquals(report.requests, 100_000);
      assertEquals(report.latency!.count, 100_000);
      assert(report.bytes >= 100_000 * (64 + 1514) / 2 - 64 * 1514);
      assertEquals(report.counts.lost, 0);
      assert(report.backEnd!.userSeconds >= 0);
    },
  });
}
