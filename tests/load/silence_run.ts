/**
 * Rounds of a million requests, for a test that listens to V8.
 *
 *     silence_run.ts block|net SOCKET ROUNDS
 *
 * @module
 */
import { BlockLoad } from "../../src/load/block_load.ts";
import { NetLoad } from "../../src/load/net_load.ts";

const [device, socket, rounds] = Deno.args;
const options = { depth: 32 };
using load = device === "net"
  ? await NetLoad.open(socket!, options)
  : await BlockLoad.open(socket!, {
    ...options,
    mix: { read: 7, write: 2, flush: 1 },
  });
for (let round = 0; round < Number(rounds); round++) {
  const { requests, failures } = load.run({ requests: 1_000_000 });
  console.log(`round of ${requests}, ${failures} failures`);
}
