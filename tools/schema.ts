/**
 * Writes docs/ringside.schema.json, which editors check the file of
 * `ringside serve` by: `deno task schema`.
 *
 * @module
 */
import { devices } from "../devices/mod.ts";
import { configSchemaText } from "../src/cli/schema.ts";

/** Where the schema is. */
export const SCHEMA_FILE: URL = new URL(
  "../docs/ringside.schema.json",
  import.meta.url,
);

if (import.meta.main) {
  await Deno.writeTextFile(SCHEMA_FILE, configSchemaText(devices));
}
