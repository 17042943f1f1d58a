/**
 * Asks the example of docs/adding_a_device.md for random bytes.
 *
 * @module
 */
import { Connection } from "@ringside/ringside/testing";

/** What the device at `socketPath` writes into a buffer of 100 bytes. */
export async function ask(socketPath: string): Promise<Uint8Array> {
  using connection = await Connection.open(socketPath);
  const queue = connection.rings[0]!;
  const address = connection.memory.allocate(100);
  queue.ring.add([{ address, size: 100, writable: true }]);
  queue.ring.publish();
  queue.kick();
  let used = queue.ring.nextUsed();
  while (used === null) {
    await queue.called();
    used = queue.ring.nextUsed();
  }
  return connection.memory.read(address, used.written);
}
