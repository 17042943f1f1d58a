/**
 * A process that serves what a file names.
 *
 * @module
 */
import { BackEnd } from "../../vm/back_end.ts";

const MAIN = new URL("../../../main.ts", import.meta.url).pathname;

/** A device as the file has it, without its socket. */
export type DeviceEntry = Record<string, string | number | boolean> & {
  device: string;
  name: string;
};

/** A directory with a file of devices and their sockets. */
export class Several implements Disposable {
  /** Where all of it is. */
  readonly directory: string = Deno.makeTempDirSync({
    prefix: "ringside-several-",
  });
  /** The file. */
  readonly config: string = `${this.directory}/ringside.json`;
  /** In the order of the file. */
  readonly devices: readonly DeviceEntry[];

  /** Writes the file for `devices`, on `plane` each. */
  constructor(devices: readonly DeviceEntry[], plane: string) {
    this.devices = devices;
    const entries = devices.map((device) => ({
      "socket-path": this.socketPath(device.name),
      "data-plane": plane,
      ...device,
    }));
    const text = JSON.stringify({ devices: entries }, null, 2);
    Deno.writeTextFileSync(this.config, `// Made by a test\n${text}`);
  }

  /** Where device `name` listens. */
  socketPath(name: string): string {
    return `${this.directory}/${name}.sock`;
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
    return [
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--allow-ffi",
      "--allow-read",
      MAIN,
      "serve",
      "--config",
      this.config,
    ];
  }

  /** Starts the process; resolves once the last device listens. */
  start(): Promise<BackEnd> {
    const last = this.socketPath(this.devices.at(-1)!.name);
    const kind = {
      name: "ringside serve",
      hasSerial: true,
      hasEngines: true,
      command: () => this.command(),
    };
    return BackEnd.start(kind, { socketPath: last, file: "" });
  }

  /** Removes the directory. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}
