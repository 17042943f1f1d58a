/**
 * Tries batch after batch of one target.
 *
 * @module
 */
import * as fc from "fast-check";
import { type Batch, batches } from "./batch.ts";
import { Footprint } from "./footprint.ts";
import { Tally, type Target, type World } from "./target.ts";

/** Batches between two looks at what is left behind, unless a target says. */
const ROUND = 50;
/** The round after which memory grows no more. */
const WARM_UP = 5;
/**
 * Descriptors that Deno may open for itself meanwhile: a pair of sockets, some
 * minutes after its start or never. What a batch leaves is left again and again.
 */
const SPARE = 6;

/** How long, and from where. */
export interface CampaignOptions {
  /** Any 32 bits: the first round's; the rounds after it count on from there. */
  readonly seed: number;
  /** Milliseconds after which no new round begins. */
  readonly timeMs?: number;
  /** Batches at most. */
  readonly runs?: number;
  /** Only this one, and what it is made smaller to: as a failure said. */
  readonly path?: string;
  /** Told after each round. */
  readonly progress?: (tally: Tally, resident: number) => void;
}

/** A batch did what it must not. */
export class Finding extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "Finding";
  /** The smallest batch that was found to do it; null where something leaked. */
  readonly batch: Batch | null;

  /** What `target` does wrong in `batch`, and how it is seen again. */
  constructor(
    target: Target,
    seed: number,
    path: string,
    batch: Batch | null,
    cause: unknown,
  ) {
    const again = `deno task fuzz ${target.name} --seed ${seed >>> 0}` +
      (path === "" ? "" : ` --path ${path}`);
    const entry = batch === null
      ? ""
      : `\nFor the corpus: ${
        JSON.stringify({ target: target.name, ...batch })
      }`;
    const reason = cause instanceof Error ? cause.stack : cause;
    super(`${reason}\nRepeat with: ${again}${entry}`, { cause });
    this.batch = batch;
  }
}

/** Tries one `batch` of `target`. Throws where something is wrong. */
export async function tryBatch(
  target: Target,
  batch: Batch,
  tally: Tally = new Tally(),
): Promise<void> {
  const world: World = await target.open(batch.shape, tally);
  try {
    for (const step of batch.steps) {
      const done = world.step(step);
      if (done !== undefined) await done;
    }
    await world.soundness();
  } finally {
    await world.close();
  }
  tally.add("batches");
}

/** The same, and nothing may be left afterwards. */
async function tryWatched(
  target: Target,
  batch: Batch,
  tally: Tally,
): Promise<void> {
  const before = Footprint.take();
  await tryBatch(target, batch, tally);
  const leaks = Footprint.take().leaks(before);
  if (leaks !== "") throw new Error(`Afterwards there are more ${leaks}`);
}

/**
 * Fuzzes `target` for as long as `options` say; what was done. Throws a
 * Finding.
 */
export async function campaign(
  target: Target,
  options: CampaignOptions,
): Promise<Tally> {
  try {
    return await tryRounds(target, options);
  } finally {
    target.close?.();
  }
}

async function tryRounds(
  target: Target,
  options: CampaignOptions,
): Promise<Tally> {
  const { seed, timeMs = Infinity, runs = Infinity, path } = options;
  const tally = new Tally();
  const end = performance.now() + timeMs;
  // What is made once and kept is made now.
  await tryNothing(target, seed);
  let before = Footprint.take();
  let left = path === undefined ? runs : 1;
  for (let round = 0; left > 0 && performance.now() < end; round++) {
    const count = Math.min(left, target.round ?? ROUND);
    const roundSeed = (seed + round) | 0;
    await tryRound(target, tally, roundSeed, count, path);
    left -= count;
    const now = Footprint.take();
    const leaks = now.leaks(before, SPARE);
    if (leaks !== "") {
      // Again, and this time each batch is looked after.
      await tryRound(target, new Tally(), roundSeed, count, path, true);
      const error = new Error(`After a round there are more ${leaks}`);
      throw new Finding(target, roundSeed, "", null, error);
    }
    // Until then code is compiled, and the heap finds its size.
    if (round === WARM_UP) before = before.withResident(now.resident);
    options.progress?.(tally, now.resident);
  }
  return tally;
}

/** The plainest world, in which nothing is done. */
async function tryNothing(target: Target, seed: number): Promise<void> {
  const batch = { shape: zeros(target), steps: [] };
  try {
    await tryBatch(target, batch);
  } catch (error) {
    throw new Finding(target, seed, "", batch, error);
  }
}

async function tryRound(
  target: Target,
  tally: Tally,
  seed: number,
  count: number,
  path: string | undefined,
  watched = path !== undefined,
): Promise<void> {
  const attempt = watched ? tryWatched : tryBatch;
  const property = fc.asyncProperty(
    batches(target.spec),
    (batch) => attempt(target, batch, tally),
  );
  const details = await fc.check(property, {
    seed,
    numRuns: count,
    endOnFailure: !target.deterministic,
    ...(path === undefined ? {} : { path }),
  });
  if (!details.failed) return;
  const { counterexample, counterexamplePath, errorInstance } = details;
  throw new Finding(
    target,
    details.seed,
    counterexamplePath ?? "",
    counterexample?.[0] ?? null,
    errorInstance,
  );
}

function zeros(target: Target): Record<string, number> {
  return Object.fromEntries(Object.keys(target.spec.shape).map((k) => [k, 0]));
}
