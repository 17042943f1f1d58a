/**
 * The parts of pictures as SVG, told apart on white and on black.
 *
 * @module
 */

/** Told apart on white and on black, and by those who see fewer colours. */
const COLOURS = [
  "#3b82f6",
  "#f08a24",
  "#10a37f",
  "#d6409f",
  "#8b5cf6",
  "#c2981a",
  "#06a3b7",
  "#ef4444",
];
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

/** Grey on whatever is behind, and better where that is known. */
const STYLE = `
    text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
      fill: #71767d; }
    .title { font-size: 17px; font-weight: 600; }
    .head { font-size: 11.5px; }
    .number { text-anchor: end; font-variant-numeric: tabular-nums; }
    .grid { stroke: #8a9099; stroke-opacity: .3; }
    .fine { stroke: #8a9099; stroke-opacity: .12; }
    .axis { stroke: #8a9099; }
    .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
    @media (prefers-color-scheme: light) { text { fill: #3f444b; } }
    @media (prefers-color-scheme: dark) { text { fill: #c3c8cf; } }
  `;

/** A document of so many pixels, without anything from elsewhere. */
export function document(
  width: number,
  height: number,
  title: string,
  parts: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `width="${width}" height="${height}" role="img">`,
    `  <title>${escape(title)}</title>`,
    `  <style>${STYLE}</style>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** The colour of the series with this index. */
export function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length]!;
}

/**
 * The dashes of the series with this index, as an attribute: colours alone do
 * not tell many, or everybody, apart.
 */
export function dashOf(index: number): string {
  const dash = DASHES[index % DASHES.length]!;
  return dash === "" ? "" : ` stroke-dasharray="${dash}"`;
}

/** A line, of class `kind`. */
export function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  kind: string,
): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `  <line class="${kind}" x1="${a}" y1="${b}" x2="${c}" y2="${d}"/>`;
}

/** A text that is at, or ends at, `at`, on the base line `down`. */
export function text(
  at: number,
  down: number,
  content: string,
  kind = "",
  anchor = "",
): string {
  const attributes = (kind === "" ? "" : ` class="${kind}"`) +
    (anchor === "" ? "" : ` text-anchor="${anchor}"`);
  const [px, py] = [at.toFixed(1), down.toFixed(1)];
  return `  <text x="${px}" y="${py}"${attributes}>${escape(content)}</text>`;
}

/** `content` as XML has it; control characters, which it can't have, are blank. */
export function escape(content: string): string {
  // deno-lint-ignore no-control-regex
  return content.replace(/[\u0000-\u001f\ufffe\uffff]/g, " ")
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
