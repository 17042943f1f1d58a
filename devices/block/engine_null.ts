// Data plane: a medium that does nothing, to measure the path to it.
/**
 * @module
 */
import type { Engine } from "./engine.ts";
import type { Requests } from "./request.ts";

/** Everything succeeds at once; what is read is what the memory held before. */
export class NullEngine implements Engine {
  readonly share = 32;

  read(requests: Requests, slot: number): number {
    return requests.chunk[slot]!;
  }

  write(requests: Requests, slot: number): number {
    return requests.chunk[slot]!;
  }

  flush(): number {
    return 0;
  }

  discard(): number {
    return 0;
  }

  zero(): number {
    return 0;
  }
}
