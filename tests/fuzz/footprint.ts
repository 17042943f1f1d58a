/**
 * What a process holds: what is fuzzed must hold no more after a batch than
 * before.
 *
 * @module
 */

/** Mappings without a name that V8 may have made meanwhile. */
const PLAIN_MAPPINGS_MORE = 400;
/** There where garbage can be collected (--expose-gc). */
const { gc } = globalThis as { gc?: () => void };
/** What the memory may have grown by: code, and garbage where it stays. */
const RESIDENT_MORE = (gc === undefined ? 1024 : 256) << 20;

/** Descriptors, mappings and memory of this process. */
export class Footprint {
  /** What the descriptors are open on, sorted. */
  readonly descriptors: readonly string[];
  /** Mappings of memfds, rings and the like. */
  readonly shared: number;
  /** All mappings. */
  readonly mappings: number;
  /** Bytes in memory. */
  readonly resident: number;

  private constructor(
    descriptors: readonly string[],
    shared: number,
    mappings: number,
    resident: number,
  ) {
    this.descriptors = descriptors;
    this.shared = shared;
    this.mappings = mappings;
    this.resident = resident;
  }

  /** As it is now, without garbage where it can be collected. */
  static take(): Footprint {
    gc?.();
    const descriptors: string[] = [];
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      try {
        // Without the number: a new one may take the place of an old one.
        descriptors.push(Deno.readLinkSync(`/proc/self/fd/${name}`));
      } catch {
        // The listing itself was open, and is not any more.
      }
    }
    const maps = Deno.readTextFileSync("/proc/self/maps").split("\n");
    const shared = maps.filter((line) => /memfd:|anon_inode:/.test(line));
    return new Footprint(
      descriptors.sort(),
      shared.length,
      maps.length,
      Deno.memoryUsage().rss,
    );
  }

  /** The same with `resident` bytes in memory. */
  withResident(resident: number): Footprint {
    const { descriptors, shared, mappings } = this;
    return new Footprint(descriptors, shared, mappings, resident);
  }

  /**
   * What there is more of than `before`, in words; "" where nothing is, or no
   * more than `spare` descriptors.
   */
  leaks(before: Footprint, spare = 0): string {
    const leaks: string[] = [];
    const gained = difference(this.descriptors, before.descriptors);
    if (gained.length > spare) leaks.push(`descriptors: ${gained.join(", ")}`);
    if (this.shared > before.shared) {
      leaks.push(`${this.shared - before.shared} mappings of shared memory`);
    }
    if (this.mappings > before.mappings + PLAIN_MAPPINGS_MORE) {
      leaks.push(`${this.mappings - before.mappings} mappings`);
    }
    if (this.resident > before.resident + RESIDENT_MORE) {
      leaks.push(`${(this.resident - before.resident) >> 20} MiB of memory`);
    }
    return leaks.join("; ");
  }
}

/** What of `all` is not in `known`, each as often as it is there more often. */
function difference(
  all: readonly string[],
  known: readonly string[],
): string[] {
  // Sockets and pipes have numbers of their own.
  const kind = (link: string) => link.replace(/\d+/g, "N");
  const left = known.map(kind);
  return all.map(kind).filter((link) => {
    const at = left.indexOf(link);
    if (at < 0) return true;
    left.splice(at, 1);
    return false;
  });
}
