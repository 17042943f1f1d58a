/**
 * dpdk-testpmd as the driver of a card, by its prompt.
 *
 * @module
 */
import { withDeadline } from "../vm/deadline.ts";

const PROMPT = "testpmd> ";
const PATIENCE_MS = 60_000;
/** Megabytes of plain memory, without huge pages. */
const MEMORY_MB = 256;

/** What a port has counted. */
export interface PortCounts {
  readonly received: number;
  readonly sent: number;
  readonly receiveErrors: number;
  readonly sendErrors: number;
  readonly missed: number;
}

/** One running testpmd with one port on a socket. */
export class Testpmd implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: AsyncIterator<string>;
  readonly #errors: Promise<string>;
  #said = "";

  private constructor(socketPath: string, options: string) {
    // What it prints is in order with its prompts only line by line.
    this.#process = new Deno.Command("stdbuf", {
      args: [
        ...["-oL", "dpdk-testpmd"],
        ...["--no-huge", "-m", String(MEMORY_MB), "--no-pci"],
        "--no-telemetry",
        `--file-prefix=ringside-${crypto.randomUUID().slice(0, 8)}`,
        `--vdev=net_virtio_user0,path=${socketPath},queues=1,` +
        `queue_size=256${options}`,
        ...["--", "-i", "--rxq=1", "--txq=1", "--port-topology=loop"],
        "--total-num-mbufs=4096",
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    const decoded = this.#process.stdout.pipeThrough(new TextDecoderStream());
    this.#output = decoded[Symbol.asyncIterator]();
    this.#errors = new Response(this.#process.stderr).text();
  }

  /** Starts one; `options` go to its port, as `,mrg_rxbuf=0`. */
  static async start(socketPath: string, options = ""): Promise<Testpmd> {
    const testpmd = new Testpmd(socketPath, options);
    try {
      await testpmd.#prompt();
      return testpmd;
    } catch (cause) {
      testpmd.#process.kill("SIGKILL");
      const said = testpmd.#said + await testpmd.#errors;
      throw new Error(`testpmd does not start: ${said}`, { cause });
    }
  }

  /** Gives a command: what it says. */
  async command(text: string): Promise<string> {
    await this.#input.write(new TextEncoder().encode(`${text}\n`));
    return await this.#prompt();
  }

  /** What the port has counted since `clear`. */
  async counts(): Promise<PortCounts> {
    const text = await this.command("show port stats 0");
    const number = (name: string) => {
      const found = new RegExp(`${name}: *([0-9]+)`).exec(text);
      if (found === null) throw new Error(`No ${name} in: ${text}`);
      return Number(found[1]);
    };
    return {
      received: number("RX-packets"),
      sent: number("TX-packets"),
      receiveErrors: number("RX-errors") + number("RX-nombuf"),
      sendErrors: number("TX-errors"),
      missed: number("RX-missed"),
    };
  }

  /** Asks for the counts until `done` says so; those. */
  async until(done: (counts: PortCounts) => boolean): Promise<PortCounts> {
    let before = -1;
    for (let still = 0;;) {
      const counts = await this.counts();
      if (done(counts)) return counts;
      const sum = counts.received + counts.sent;
      still = sum === before ? still + 1 : 0;
      if (still > 200) {
        throw new Error(`Nothing moves any more: ${JSON.stringify(counts)}`);
      }
      before = sum;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends it as its user would. */
  async quit(): Promise<void> {
    await this.#input.write(new TextEncoder().encode("quit\n"));
    const { success } = await withDeadline(this.#process.status, PATIENCE_MS);
    if (!success) throw new Error(`testpmd failed: ${await this.#errors}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#process.status;
    await this.#errors;
    while (!(await this.#output.next()).done);
    await this.#input.close().catch(() => {});
  }

  async #prompt(): Promise<string> {
    const read = async () => {
      for (;;) {
        const at = this.#said.indexOf(PROMPT);
        if (at >= 0) {
          const answer = this.#said.slice(0, at);
          this.#said = this.#said.slice(at + PROMPT.length);
          return answer;
        }
        const { value, done } = await this.#output.next();
        if (done) throw new Error(`testpmd has ended: ${this.#said}`);
        this.#said += value;
      }
    };
    return await withDeadline(read(), PATIENCE_MS);
  }
}
