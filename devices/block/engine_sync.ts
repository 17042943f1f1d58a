// Data plane: a file by plain system calls, one at a time.
/**
 * @module
 */
import type { DiskFile } from "../../src/io/file.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import type { Engine } from "./engine.ts";
import type { Requests } from "./request.ts";

/** Blocks the thread for each request; runs wherever Linux does. */
export class SyncEngine implements Engine {
  readonly share = 4;
  readonly #file: DiskFile;
  readonly #flushes: Pick<DiskFile, "dataSync">;

  /** Works on `file`, and flushes it by `flushes`; it owns neither. */
  constructor(file: DiskFile, flushes: Pick<DiskFile, "dataSync"> = file) {
    this.#file = file;
    this.#flushes = flushes;
  }

  read(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
  ): number {
    return this.#file.readList(list, first, count, requests.offset, slot);
  }

  write(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
    durable: boolean,
  ): number {
    const { offset } = requests;
    return this.#file.writeList(list, first, count, offset, slot, durable);
  }

  flush(_slot: number): number {
    return this.#flushes.dataSync();
  }

  discard(_slot: number, offset: number, size: number): number {
    return this.#file.punchHole(offset, size);
  }

  zero(_slot: number, offset: number, size: number, mayUnmap: boolean): number {
    return this.#file.zeroRange(offset, size, mayUnmap);
  }
}
