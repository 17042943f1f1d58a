/**
 * A process that serves what a file names.
 *
 * @module
 */
import type { BackEnd } from "../../vm/back_end.ts";
import {
  type DeviceEntry,
  servedCommand,
  socketPathOf,
  startServed,
  writeServed,
} from "../../vm/serving.ts";

export type { DeviceEntry };

/** A directory with a file of devices and their sockets. */
export class Several implements Disposable {
  /** Where all of it is. */
  readonly directory: string = Deno.makeTempDirSync({
    prefix: "ringside-several-",
  });
  /** The file. */
  readonly config: string;
  /** In the order of the file. */
  readonly devices: readonly DeviceEntry[];

  /** Writes the file for `devices`, on `plane` each. */
  constructor(devices: readonly DeviceEntry[], plane: string) {
    this.devices = devices;
    const defaults = { "data-plane": plane };
    this.config = writeServed(this.directory, devices, defaults);
  }

  /** Where device `name` listens. */
  socketPath(name: string): string {
    return socketPathOf(this.directory, name);
  }

  /** Whether device `name` has its socket. */
  hasSocket(name: string): boolean {
    try {
      return Deno.lstatSync(this.socketPath(name)).isSocket === true;
    } catch {
      return false;
    }
  }

  /** The path of a disk image whose bytes are all `value`. */
  image(name: string, size: number, value: number): string {
    const path = `${this.directory}/${name}.img`;
    Deno.writeFileSync(path, new Uint8Array(size).fill(value));
    return path;
  }

  /** Changes the text of the file. */
  rewrite(from: string, to: string): void {
    const text = Deno.readTextFileSync(this.config);
    Deno.writeTextFileSync(this.config, text.replace(from, to));
  }

  /** Program and arguments. */
  command(): string[] {
    return servedCommand(this.directory);
  }

  /** Starts the process; resolves once the last device listens. */
  start(): Promise<BackEnd> {
    return startServed(this.directory, this.devices);
  }

  /** Removes the directory. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}
