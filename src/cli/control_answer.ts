/**
 * The answers on a control socket, as `ringside ctl` takes them: whoever
 * listens there may be no server of ours.
 *
 * @module
 */
import type {
  ControlAnswer,
  ControlRequest,
  Resized,
  Status,
} from "./control_protocol.ts";
import { ToolError } from "./tools.ts";

/** Of an answer, so many characters are shown. */
const SHOWN_MAX = 60;

type Parts = Readonly<Record<string, unknown>>;

/** The result in `line`, the answer to `request`. Throws a ToolError. */
export function resultOf(
  request: ControlRequest,
  line: string,
): Status | Resized {
  const answer = parse(line) as Partial<ControlAnswer> | null;
  if (isParts(answer)) {
    if (answer.ok === false && typeof answer.error === "string") {
      throw new ToolError(answer.error);
    }
    const result = answer.ok === true ? answer.result : null;
    if (request.command === "status" && isStatus(result)) return result;
    if (request.command === "resize" && isResized(result)) return result;
  }
  const shown = line.length > SHOWN_MAX
    ? `${line.slice(0, SHOWN_MAX)}...`
    : line;
  throw new ToolError(
    `The server answered ${shown}, wanted what docs/control.md says of ` +
      `${request.command}: give --control-path of a server of ringside`,
  );
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

function isParts(value: unknown): value is Parts {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isResized(result: unknown): result is Resized {
  return isParts(result) && typeof result.size === "number";
}

function isStatus(result: unknown): result is Status {
  return isParts(result) && Array.isArray(result.devices) &&
    result.devices.every((device) =>
      isParts(device) &&
      typeof device.name === "string" && typeof device.device === "string" &&
      (device.features === null || Array.isArray(device.features)) &&
      Array.isArray(device.rings) && device.rings.every(isRing)
    );
}

function isRing(ring: unknown): boolean {
  const isText = (value: unknown) =>
    value === undefined || typeof value === "string";
  return isParts(ring) && typeof ring.index === "number" &&
    isText(ring.broken);
}
