/**
 * Figures as people read them.
 *
 * @module
 */

const DECIMAL = ["", " k", " M", " G"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];
const TIMES = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]] as const;

/** Three digits that mean something. */
function digits(value: number): string {
  if (value === 0 || value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `691 k` for 691324. */
export function formatCount(count: number): string {
  let value = count;
  let power = 0;
  while (value >= 999.5 && power < DECIMAL.length - 1) {
    value /= 1000;
    power++;
  }
  return power === 0 && Number.isInteger(value)
    ? String(value)
    : digits(value) + DECIMAL[power]!;
}

/** `42.7 µs` for 42700 nanoseconds. */
export function formatTime(nanoseconds: number): string {
  const [unit, name] = TIMES.find(([unit]) => nanoseconds >= unit * 0.9995) ??
    TIMES[3];
  return unit === 1
    ? `${Math.round(nanoseconds)} ns`
    : `${digits(nanoseconds / unit)} ${name}`;
}

/** `2.64 GiB` for 2831155200 bytes. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let power = 0;
  while (value >= 1023.5 && power < BINARY.length - 1) {
    value /= 1024;
    power++;
  }
  return `${power === 0 ? Math.round(value) : digits(value)} ${BINARY[power]!}`;
}

/** `0.031`, or more digits where it is less. */
export function formatShare(value: number): string {
  if (value === 0) return "0";
  return value >= 0.01 ? value.toFixed(2) : value.toPrecision(1);
}
