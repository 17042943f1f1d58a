/**
 * Serves the example of docs/adding_a_device.md: its one argument is the path
 * to listen on.
 *
 * @module
 */
import { completeOptions, Server } from "@ringside/ringside";
import { entropy } from "./example_device.ts";

const socketPath = Deno.args[0] ?? "entropy.sock";
const options = completeOptions(entropy.options, { "max-bytes": 64 });
const device = await entropy.open(options);
const server = await Server.open("entropy", device, { socketPath });
Deno.addSignalListener("SIGTERM", () => server.stop());
await server.run();
