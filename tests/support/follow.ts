/**
 * What a process says, while it says it.
 *
 * @module
 */

/** Gives `take` what comes over `stream`, piece by piece, until its end. */
export async function follow(
  stream: ReadableStream<Uint8Array>,
  take: (text: string) => void,
): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    take(text);
  }
}
