/**
 * Whether tests that need io_uring can run here.
 *
 * @module
 */
import { IoUring } from "../../src/io/io_uring.ts";
import { requirement } from "./require.ts";

/** See {@linkcode requirement}. */
export const hasUring: boolean = requirement("io_uring", () => {
  IoUring.open(8)[Symbol.dispose]();
  return true;
});
