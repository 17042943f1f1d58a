/**
 * The control socket of a server: who may connect may ask what is served, and
 * have it changed. That is the user of the server, by the mode of the socket.
 *
 * @module
 */
import { SystemError, UsageError } from "../errors.ts";
import { CancelledError, Reactor } from "../io/reactor.ts";
import { UnixListener, type UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import type { Server } from "../server/server.ts";
import manifest from "../../deno.json" with { type: "json" };
import {
  type ControlAnswer,
  type ControlRequest,
  type DeviceName,
  parseRequest,
  REQUEST_MAX,
} from "./control_protocol.ts";
import { LineSocket } from "./line_socket.ts";

/** Only the user of the server. */
const MODE = 0o600;
/** More clients at once are hung up on. */
const CLIENTS_MAX = 16;
/** How often a connection is tried that there is a shortage for. */
const SHORTAGE_MS = 100;

/** A device that can be asked and told. */
export interface Controlled extends DeviceName {
  /** Serves it. */
  readonly server: Pick<Server, "status" | "resize">;
}

/** Listens for clients until it is disposed of. */
export class ControlServer implements Disposable {
  readonly #listener: UnixListener;
  readonly #reactor: Reactor;
  readonly #devices: readonly Controlled[];
  readonly #clients = new Set<LineSocket>();
  #closed = false;

  /** Listens at `path` for `devices`. Throws a SystemError or a UsageError. */
  constructor(
    path: string,
    devices: readonly Controlled[],
    reactor: Reactor = Reactor.main,
  ) {
    this.#listener = UnixListener.bind(path, MODE);
    this.#devices = devices;
    this.#reactor = reactor;
    void this.#accept();
    log.info(`ringside ctl reaches this server by --control-path ${path}`);
  }

  /** Hangs up on all clients and removes the socket. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#reactor.cancel(this.#listener.fd.number);
    this.#listener[Symbol.dispose]();
    for (const client of this.#clients) client[Symbol.dispose]();
  }

  async #accept(): Promise<void> {
    while (!this.#closed) {
      try {
        const socket = this.#listener.accept();
        if (socket !== null) this.#greet(socket);
        else await this.#reactor.readable(this.#listener.fd.number);
      } catch (error) {
        if (this.#closed) return;
        log.warnOnce(`The control socket has a client less: ${error}`);
        await new Promise((resolve) => setTimeout(resolve, SHORTAGE_MS));
      }
    }
  }

  #greet(socket: UnixSocket): void {
    const client = new LineSocket(socket, this.#reactor, REQUEST_MAX);
    if (this.#clients.size >= CLIENTS_MAX) return client[Symbol.dispose]();
    this.#clients.add(client);
    void this.#serve(client);
  }

  /** One request after the other. What is no request ends the connection. */
  async #serve(client: LineSocket): Promise<void> {
    try {
      for (;;) {
        const answer = await this.#next(client);
        if (answer === null) break;
        await client.write(JSON.stringify(answer));
        // Who sends without end waits for nothing: others have their turn.
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      await this.#dismiss(client, error);
    }
    this.#clients.delete(client);
    client[Symbol.dispose]();
  }

  async #next(client: LineSocket): Promise<ControlAnswer | null> {
    const line = await client.read();
    if (line === null) return null;
    try {
      return { ok: true, result: await this.#run(parseRequest(line)) };
    } catch (error) {
      if (error instanceof UsageError || error instanceof SystemError) {
        return { ok: false, error: error.message };
      }
      log.error(`A control request failed: ${(error as Error).stack}`);
      return { ok: false, error: "It failed, see the log of the server" };
    }
  }

  async #dismiss(client: LineSocket, error: unknown): Promise<void> {
    if (error instanceof CancelledError) return;
    log.debug(`A control client is hung up on: ${error}`);
    if (!(error instanceof UsageError)) return;
    const answer: ControlAnswer = { ok: false, error: error.message };
    await client.write(JSON.stringify(answer)).catch(() => {});
  }

  async #run(request: ControlRequest): Promise<unknown> {
    if (request.command === "status") {
      const devices = this.#devices.map(async ({ name, device, server }) => ({
        name,
        device,
        ...await server.status(),
      }));
      return { version: manifest.version, devices: await Promise.all(devices) };
    }
    const { device, size = null, shrink = false } = request;
    const found = this.#devices.find(({ name }) => name === device);
    if (found === undefined) {
      const names = this.#devices.map(({ name }) => name).join(", ");
      throw new UsageError(
        `There is no device ${JSON.stringify(device)}: there are ${names}`,
      );
    }
    return { size: await found.server.resize({ size, shrink }) };
  }
}
