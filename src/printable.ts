/**
 * Text for a line of a log or of an error, whatever it holds.
 *
 * @module
 */
const CONTROLS = /[\p{Cc}\u2028\u2029]/gu;
const SHORT: Readonly<Record<string, string>> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/**
 * `text` with its control characters spelled out, as `\n` and `\x1b`: a name
 * from elsewhere neither ends a line nor talks to the terminal.
 */
export function printable(text: string): string {
  return text.replace(CONTROLS, (control) => {
    const code = control.charCodeAt(0).toString(16);
    return SHORT[control] ??
      (code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`);
  });
}
