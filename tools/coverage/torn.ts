/**
 * What a process wrote that was killed while it wrote.
 *
 * @module
 */

/** Of what deno indents: no brace within stands at the start of a line. */
const END = "\n}";

/**
 * Removes the files of `directory` that have no end, which nothing can read:
 * how many there were.
 */
export async function removeTorn(directory: string): Promise<number> {
  let count = 0;
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (await isWhole(path)) continue;
    await Deno.remove(path);
    count++;
  }
  return count;
}

async function isWhole(path: string): Promise<boolean> {
  const { isFile, size } = await Deno.stat(path);
  if (!isFile) return true;
  if (size < END.length) return false;
  using file = await Deno.open(path);
  await file.seek(-END.length, Deno.SeekMode.End);
  const last = new Uint8Array(END.length);
  await file.read(last);
  return new TextDecoder().decode(last) === END;
}
