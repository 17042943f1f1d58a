/**
 * What is said on the control socket of a server: a line of JSON each way.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import type { ServerStatus } from "../server/server.ts";

/** A line of a client has so many bytes at most. */
export const REQUEST_MAX = 4096;

/** What a client may ask for. */
export type ControlRequest =
  | { readonly command: "status" }
  | {
    readonly command: "resize";
    /** The name of the device, as `status` has it. */
    readonly device: string;
    /** In bytes; without: what the medium has by now. */
    readonly size?: number;
    /** Whether it may become smaller. */
    readonly shrink?: boolean;
  };

/** What the server answers. */
export type ControlAnswer<T = unknown> =
  | { readonly ok: true; readonly result: T }
  | { readonly ok: false; readonly error: string };

/** The result of `status`. */
export interface Status {
  /** As `ringside --version` prints it. */
  readonly version: string;
  /** In the order in which they were named. */
  readonly devices: readonly (DeviceName & ServerStatus)[];
}

/** What a device is called, and what it is. */
export interface DeviceName {
  /** In the log, and in requests. */
  readonly name: string;
  /** Its kind, as on the command line. */
  readonly device: string;
}

/** The result of `resize`. */
export interface Resized {
  /** In bytes. */
  readonly size: number;
}

/** The type of each key of a request, "" where it may be missing. */
type Shape = Readonly<Record<string, readonly [type: string, needed: boolean]>>;

const SHAPES: Readonly<Record<ControlRequest["command"], Shape>> = {
  status: {},
  resize: {
    device: ["string", true],
    size: ["number", false],
    shrink: ["boolean", false],
  },
};

/**
 * The request in `line`.
 *
 * @throws {UsageError} it is none: what is, what was wanted
 */
export function parseRequest(line: string): ControlRequest {
  const value = parseObject(line);
  const { command } = value;
  const names = Object.keys(SHAPES);
  if (typeof command !== "string" || !Object.hasOwn(SHAPES, command)) {
    throw new UsageError(
      `"command" is ${show(command)}, wanted one of ${names.join(", ")}`,
    );
  }
  const shape = SHAPES[command as ControlRequest["command"]];
  for (const key of Object.keys(value)) {
    if (key === "command" || Object.hasOwn(shape, key)) continue;
    throw new UsageError(`There is no key ${show(key)} of ${command}`);
  }
  for (const [key, [type, needed]] of Object.entries(shape)) {
    if (value[key] === undefined && !needed) continue;
    const is: string = typeof value[key];
    if (is === type) continue;
    throw new UsageError(
      `"${key}" of ${command} is ${show(value[key])}, wanted a ${type}`,
    );
  }
  return value as unknown as ControlRequest;
}

function parseObject(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new UsageError(`A line is no JSON: ${(error as Error).message}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new UsageError(
    `A line is ${show(value)}, wanted an object as {"command":"status"}`,
  );
}

/** `value` for a message, however long it is. */
function show(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
