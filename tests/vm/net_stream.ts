/**
 * A stream of random bytes over one TCP connection, for as long as a scenario
 * lets it: whatever happens to the link meanwhile, each byte arrives once.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type End, freshPort, untilListening } from "./net_traffic.ts";

/** What is sent at once, and the pause after it: an emulated guest has more to do. */
const PIECE = "32k";
const PAUSE_US = 20_000;

/** A stream under way. */
export class Stream {
  readonly #from: End;
  readonly #to: End;
  readonly #source: string;
  readonly #target: string;

  private constructor(from: End, to: End, port: number) {
    this.#from = from;
    this.#to = to;
    this.#source = `${from.directory}/source-${port}`;
    this.#target = `${to.directory}/target-${port}`;
  }

  /** Lets `from` send to `to` until {@linkcode end}. */
  static async start(from: End, to: End): Promise<Stream> {
    const port = freshPort();
    const stream = new Stream(from, to, port);
    // nc hangs up at the end of its standard input: this one has none.
    await to.shell.output(`
      mkdir ${stream.#target} && cd ${stream.#target} || exit 1
      mkfifo hold copy || exit 1
      exec 9<>hold
      (wc -c <copy >size &
       busybox nc -l -p ${port} <&9 | tee copy | sha256sum >hash
       wait
       cat size hash >all
       mv all done) >/dev/null 2>&1 &
      ${untilListening(port)}
    `);
    await from.shell.output(`
      mkdir ${stream.#source} && cd ${stream.#source} || exit 1
      mkfifo copy counted || exit 1
      touch go
      (wc -c <counted >size &
       tee counted <copy | sha256sum >hash &
       while [ -e go ]; do
         dd if=/dev/urandom bs=${PIECE} count=1
         busybox usleep ${PAUSE_US}
       done | tee copy | busybox nc ${to.address} ${port}
       wait
       cat size hash >all
       mv all done) >/dev/null 2>&1 &
    `);
    return stream;
  }

  /** Ends it; rejects unless what arrived is what was sent: how many bytes. */
  async end(): Promise<number> {
    await this.#from.shell.output(`rm ${this.#source}/go`);
    const take = (directory: string) => `
      cd ${directory}
      for turn in $(seq 300); do [ -e done ] && break; busybox usleep 50000; done
      cat done && rm -r ${directory}
    `;
    const sent = await this.#from.shell.output(take(this.#source));
    const received = await this.#to.shell.output(take(this.#target));
    assertEquals(received, sent);
    return Number(sent.split("\n")[0]);
  }
}
