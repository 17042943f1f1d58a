import { assertEquals } from "@std/assert";
import {
  backendRequestName,
  protocolBits,
  requestName,
  VHOST_USER,
  VHOST_USER_BACKEND,
  VHOST_USER_PROTOCOL_F,
} from "./protocol.ts";

Deno.test("the requests are numbered without a gap", () => {
  const ids = Object.values(VHOST_USER);
  assertEquals(ids, ids.map((_, i) => i + 1) as typeof ids);
  const backendIds = Object.values(VHOST_USER_BACKEND);
  assertEquals(
    backendIds,
    backendIds.map((_, i) => i + 1) as typeof backendIds,
  );
});

Deno.test("the protocol features are numbered without a gap", () => {
  const bits = Object.values(VHOST_USER_PROTOCOL_F);
  assertEquals(bits, bits.map((_, i) => i) as typeof bits);
  assertEquals(protocolBits([0, 3, 16]), 0x10009n);
});

Deno.test("numbers without a name are shown as numbers", () => {
  assertEquals(requestName(45), "GET_VRING_BASE_SKIP_DRAIN");
  assertEquals(requestName(46), "request 46");
  assertEquals(backendRequestName(2), "CONFIG_CHANGE_MSG");
  assertEquals(backendRequestName(11), "back-end request 11");
});
