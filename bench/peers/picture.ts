/**
 * Bars of the rates of all contenders, with their spread, as SVG.
 *
 * @module
 */
import { median } from "../figures.ts";
import type { Result } from "./result.ts";

const WIDTH = 760;
const LABEL = 200;
const BAR = 14;
const GAP = 6;
const HEAD = 26;
/** Room behind the longest bar, for its figure. */
const TAIL = 70;
const COLOURS = ["#1f6feb", "#9a6700", "#bf8700", "#54aeff"];

/** `text` as the name of a file. */
export function fileName(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9]+/g, "-").toLowerCase();
}

/** Draws each work into a file of `directory`. */
export async function picture(
  directory: URL,
  results: readonly Result[],
): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  for (const result of results) {
    await Deno.writeTextFile(
      new URL(`${fileName(result.work.name)}.svg`, directory),
      draw(result),
    );
  }
}

/** The picture of one work. */
export function draw({ work, samples }: Result): string {
  const rates = [...samples].map(([name, all]) => ({
    name,
    rates: all.map(({ rate }) => rate),
  }));
  const most = Math.max(1, ...rates.flatMap(({ rates }) => rates));
  const scale = (WIDTH - LABEL - TAIL) / most;
  const height = HEAD + rates.length * (BAR + GAP) + GAP;
  const bars = rates.map(({ name, rates }, i) => {
    const y = HEAD + i * (BAR + GAP);
    const middle = median(rates);
    const [low, high] = [Math.min(...rates), Math.max(...rates)];
    const x = (value: number) => (LABEL + value * scale).toFixed(1);
    const centre = y + BAR / 2;
    return `<text x="${LABEL - 8}" y="${
      y + 11
    }" text-anchor="end">${name}</text>
<rect x="${LABEL}" y="${y}" width="${(middle * scale).toFixed(1)}" ` +
      `height="${BAR}" fill="${COLOURS[i % COLOURS.length]}"/>
<path d="M${x(low)} ${centre}H${x(high)}M${x(low)} ${y + 3}v8M${x(high)} ` +
      `${y + 3}v8" stroke="#24292f" fill="none"/>
<text x="${Number(x(high)) + 6}" y="${y + 11}">${middle.toFixed(0)} k/s</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" ` +
    `height="${height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="8" y="17" font-size="13">${work.name}</text>
${bars.join("\n")}
</svg>
`;
}
