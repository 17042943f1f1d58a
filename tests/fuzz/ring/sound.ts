/**
 * A request as it should be, answered as it should be.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { DriverMemory, RingDriver } from "../../../src/testing/mod.ts";
import type { Virtqueue } from "../../../src/virtqueue/mod.ts";

const QUESTION = Uint8Array.of(1, 2, 3, 4, 5, 6, 7);
const ANSWER = Uint8Array.of(9, 8, 7, 6, 5);

/**
 * Requests over `driver` arrive at `queue` whole, and so do their answers. In an
 * indirect table too where there may be one.
 */
export function sound(
  memory: DriverMemory,
  driver: RingDriver,
  queue: Virtqueue,
  indirect: boolean,
): void {
  const from = memory.allocate(QUESTION.length, 1);
  const to = memory.allocate(ANSWER.length + 1, 1);
  const segments = [
    { address: from, size: QUESTION.length, writable: false },
    { address: to, size: ANSWER.length + 1, writable: true },
  ];
  // More than a ring, so that it is gone around.
  for (let i = 0; i < driver.size + 2; i++) {
    memory.write(from, QUESTION.map((byte) => byte + i));
    memory.write(to, new Uint8Array(ANSWER.length + 1).fill(0xee));
    const inTable = indirect && (i % 2 === 0 || driver.size === 1);
    const chain = driver.size === 1 && !inTable ? segments.slice(1) : segments;
    const head = driver.add(chain, { indirect: inTable });
    driver.publish();
    assert(queue.pop(), "a sound chain is popped");
    const { reader, writer } = queue.chain;
    const read = new Uint8Array(16);
    const question = chain.length === 1 ? 0 : QUESTION.length;
    assertEquals(reader.readBytes(read), question);
    const bytes = QUESTION.map((byte) => byte + i).subarray(0, question);
    assertEquals(read.subarray(0, question), bytes);
    assertEquals(writer.writeBytes(ANSWER), ANSWER.length);
    queue.push(queue.chain.head, ANSWER.length);
    queue.flush();
    const used = driver.nextUsed();
    assertEquals(used, { head, written: ANSWER.length });
    assertEquals(
      memory.read(to, ANSWER.length + 1),
      Uint8Array.of(...ANSWER, 0xee),
    );
  }
}
