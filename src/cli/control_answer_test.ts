import { assertEquals, assertThrows } from "@std/assert";
import { resultOf } from "./control_answer.ts";
import type { ControlRequest } from "./control_protocol.ts";
import { ToolError } from "./tools.ts";

const STATUS: ControlRequest = { command: "status" };
const RESIZE: ControlRequest = { command: "resize", device: "disk" };
const DEVICE = { name: "disk", device: "block", features: null, rings: [] };

function answered(request: ControlRequest, answer: unknown): unknown {
  return resultOf(request, JSON.stringify(answer));
}

Deno.test("the result of a server is passed on, and its error", () => {
  const result = { version: "1", devices: [DEVICE] };
  assertEquals(answered(STATUS, { ok: true, result }), result);
  const size = { size: 512 };
  assertEquals(answered(RESIZE, { ok: true, result: size }), size);
  assertThrows(
    () => answered(RESIZE, { ok: false, error: "It is full" }),
    ToolError,
    "It is full",
  );
});

Deno.test("what is no answer of a server of ours is told so", () => {
  const results: [ControlRequest, unknown][] = [
    [STATUS, undefined],
    [STATUS, { size: 512 }],
    [STATUS, { devices: {} }],
    [STATUS, { devices: [null] }],
    [STATUS, { devices: [{ ...DEVICE, name: 5 }] }],
    [STATUS, { devices: [{ ...DEVICE, features: "all" }] }],
    [STATUS, { devices: [{ ...DEVICE, rings: [{}] }] }],
    [STATUS, { devices: [{ ...DEVICE, rings: [{ index: 0, broken: 1 }] }] }],
    [RESIZE, null],
    [RESIZE, { size: "512" }],
  ];
  for (const [request, result] of results) {
    const told = `wanted what docs/control.md says of ${request.command}`;
    const act = () => answered(request, { ok: true, result });
    assertThrows(act, ToolError, told);
  }
  for (
    const line of ["", "hello", "[]", "null", '{"ok":false}', "x".repeat(99)]
  ) {
    assertThrows(
      () => resultOf(STATUS, line),
      ToolError,
      "The server answered",
    );
  }
});
