/// <reference lib="deno.unstable" />
/**
 * The house rules that `deno lint` holds: see docs/architecture.md.
 *
 * @module
 */
import { functionLength } from "./lint/function_length.ts";
import { hotCode } from "./lint/hot_code.ts";
import { importRanks } from "./lint/import_ranks.ts";
import { unsafeInFfi } from "./lint/unsafe_in_ffi.ts";

const plugin: Deno.lint.Plugin = {
  name: "ringside",
  rules: {
    "import-ranks": importRanks,
    "unsafe-in-ffi": unsafeInFfi,
    "function-length": functionLength,
    "hot-code": hotCode,
  },
};

export default plugin;
