/**
 * Rounds of a contest: each contender in turn, again and again, so that all of
 * them have the same weather.
 *
 * @module
 */
import { checkpoint } from "../interruption.ts";
import { MissingProgram, outputOf } from "../programs.ts";
import type { Sample } from "./measure.ts";
import type { Work } from "./work.ts";

const DISK_MIB = 512;

/** One who takes part in a contest. */
export interface Entrant {
  /** As in the tables. */
  readonly name: string;
  /** One run; what it is, in the round with this number. */
  run(round: number): Promise<Sample>;
}

/**
 * The samples of all entrants, by name, after so many rounds; those that fail
 * are named, and left out.
 */
export async function contest(
  entrants: readonly Entrant[],
  rounds: number,
): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const samples = new Map(
    entrants.map(({ name }): [string, Sample[]] => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const { name, run } of entrants) {
      const of = samples.get(name);
      if (of === undefined) continue;
      checkpoint();
      try {
        of.push(await run(round));
      } catch (error) {
        // Ctrl-C ends what is measured too.
        checkpoint();
        const { message } = error as Error;
        console.error(`${name} is left out: ${message.trim()}`);
        samples.delete(name);
      }
    }
  }
  return samples;
}

/** Makes a file whose bytes are not 0. */
export async function makeDisk(file: string): Promise<void> {
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  using image = await Deno.open(file, { create: true, write: true });
  for (let i = 0; i < DISK_MIB; i++) {
    checkpoint();
    await image.write(bytes);
  }
  await image.syncData();
}

/** Whether `file` is ready for `work`; says what is missing where it can't be. */
export async function isReady(file: string, work: Work): Promise<boolean> {
  try {
    await warm(file, work.inPages);
    return true;
  } catch (error) {
    if (!(error instanceof MissingProgram)) throw error;
    console.error(`${work.name} is left out: ${error.message}`);
    return false;
  }
}

/**
 * Has all of a file in the page cache, whatever else the machine did: `inPages`
 * as they come by random reads, else in large folios. fio lets go of what is
 * there, and tells the kernel that it reads at random.
 */
async function warm(file: string, inPages = false): Promise<void> {
  if (!inPages) return void await Deno.readFile(file);
  // What is not on the disk yet can't be let go of.
  using image = await Deno.open(file);
  await image.syncData();
  await outputOf(
    ...["fio", "--name=warm", "--ioengine=io_uring", `--filename=${file}`],
    ...["--rw=randread", "--bs=4k", "--iodepth=64"],
  );
}
