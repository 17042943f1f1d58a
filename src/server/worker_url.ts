/**
 * Where a thread of a data plane finds its program, for whoever starts it and
 * has no use for that program himself.
 *
 * @module
 */

/**
 * A module that joins `runWorker` with the device module at `deviceUrl`. It
 * imports both by name, so that whoever packs the program finds no import whose
 * target is known only at run time.
 */
export function workerUrl(deviceUrl: string): string {
  const program = import.meta.resolve("./worker.ts");
  const source = `import { runWorker } from ${JSON.stringify(program)};
import { open } from ${JSON.stringify(deviceUrl)};
runWorker(open);`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
