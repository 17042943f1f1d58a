/**
 * Block devices over files.
 *
 * @module
 */

/** A loop device over `path`, or null where the machine has none to give. */
export function loopDevice(
  path: string,
): ({ readonly path: string } & Disposable) | null {
  try {
    const args = ["--find", "--show", path];
    const found = new Deno.Command("losetup", { args }).outputSync();
    if (!found.success) return null;
    const device = new TextDecoder().decode(found.stdout).trim();
    const detach = () => {
      new Deno.Command("losetup", { args: ["--detach", device] }).outputSync();
    };
    return { path: device, [Symbol.dispose]: detach };
  } catch {
    return null;
  }
}
