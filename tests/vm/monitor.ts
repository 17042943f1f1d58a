/**
 * QEMU's machine protocol (QMP), as much of it as the scenarios need.
 *
 * @module
 */

/** A connection to the monitor of a running QEMU. */
export class Monitor implements Disposable {
  #connection: Deno.Conn;
  #text = "";
  #decoder = new TextDecoder();

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Takes a connection QEMU made and agrees on the protocol. */
  static async open(connection: Deno.Conn): Promise<Monitor> {
    const monitor = new Monitor(connection);
    await monitor.#message(); // The greeting.
    await monitor.execute("qmp_capabilities");
    return monitor;
  }

  /**
   * Runs one command, one at a time, and resolves with what it returns.
   * Rejects with QEMU's text when it fails. Events on the way are dropped.
   */
  async execute(
    command: string,
    args: Record<string, unknown> = {},
  ): Promise<unknown> {
    const request = JSON.stringify({ execute: command, arguments: args });
    const bytes = new TextEncoder().encode(request + "\n");
    for (let at = 0; at < bytes.length;) {
      at += await this.#connection.write(bytes.subarray(at));
    }
    for (;;) {
      const message = await this.#message();
      if ("error" in message) {
        const { desc } = message.error as { desc: string };
        throw new Error(`QEMU refused ${request}: ${desc}`);
      }
      if ("return" in message) return message.return;
    }
  }

  /** Closes the connection; the machine goes on. */
  [Symbol.dispose](): void {
    this.#connection.close();
  }

  /** The next line, which holds one message. */
  async #message(): Promise<Record<string, unknown>> {
    let end = -1;
    while ((end = this.#text.indexOf("\n")) < 0) {
      const piece = new Uint8Array(65536);
      const size = await this.#connection.read(piece);
      if (size === null) throw new Error("QEMU closed its monitor");
      this.#text += this.#decoder.decode(piece.subarray(0, size), {
        stream: true,
      });
    }
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return JSON.parse(line);
  }
}
