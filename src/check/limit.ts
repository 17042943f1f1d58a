/**
 * A limit for what may never come.
 *
 * @module
 */
import { CheckFailure } from "./verdict.ts";

/**
 * The outcome of `work`; a CheckFailure where `what()` is not there after
 * `limitMs`. Whoever calls ends the work.
 */
export async function withLimit<T>(
  work: Promise<T>,
  limitMs: number,
  what: () => string,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const seconds = limitMs / 1000;
      reject(new CheckFailure(`${what()} did not come within ${seconds} s`));
    }, limitMs);
  });
  // It may still fail, when nobody listens any more.
  work.catch(() => {});
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
