/**
 * How many descriptors this process has open: to show that none leak.
 *
 * @module
 */

/** The open descriptors, as `7 -> socket:[123]`, in order. */
export function openDescriptors(): string[] {
  const open: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      const target = Deno.readLinkSync(`/proc/self/fd/${name}`);
      open.push(`${name} -> ${target}`);
    } catch {
      // The one that reads the folder itself is gone by now.
    }
  }
  return open.sort((a, b) => parseInt(a) - parseInt(b));
}
