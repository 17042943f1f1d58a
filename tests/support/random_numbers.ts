/**
 * Random numbers as a thread or a process of its own gets them, for a test that
 * compares those of many: posted by a worker, written by a process.
 *
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { KernelRandom } from "../../src/io/random.ts";

/** `size` random bytes, drawn in requests of each size in turn. */
export function draw(
  size: number,
  pieces: readonly number[] = [64, 4096, 32, 1000],
): Uint8Array<ArrayBuffer> {
  using random = KernelRandom.open();
  using memory = Mapping.anonymous(size);
  using list = new IovecList(1);
  let done = 0;
  for (let i = 0; done < size; i++) {
    const wanted = Math.min(pieces[i % pieces.length]!, size - done);
    list.set(0, memory.address + done, wanted);
    if (random.fill(list, 0, 1) !== wanted) throw new Error("A short piece");
    done += wanted;
  }
  return new Uint8Array(memory.buffer.slice(0));
}

/** Bytes that a worker or a process draws. */
export const DRAWN: number = 64 << 10;

if (import.meta.main) {
  const bytes = draw(DRAWN);
  const { postMessage } = self as { postMessage?: (value: unknown) => void };
  if (postMessage !== undefined) postMessage(bytes);
  else Deno.stdout.writeSync(bytes);
}
