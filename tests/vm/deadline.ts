/**
 * Waiting with a limit.
 *
 * @module
 */

/** The outcome of `work`, or an Error after `timeoutMs` milliseconds. */
export async function withDeadline<T>(
  work: Promise<T>,
  timeoutMs: number,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Not done after ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks `check` again and again until it is true, or rejects with what
 * `describe` says after `timeoutMs` milliseconds. For facts of other processes
 * that announce themselves to nobody.
 */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  timeoutMs: number,
  describe: () => string | Promise<string>,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!await check()) {
    if (performance.now() > end) {
      throw new Error(`${await describe()} (after ${timeoutMs / 1000} s)`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
