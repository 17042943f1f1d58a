/**
 * Log lines on standard error, one a line, with a level.
 *
 * @module
 */

import { printable } from "./printable.ts";

/** From silent to chatty. */
export type LogLevel = "error" | "warn" | "info" | "debug";

const RANK: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3 };
let current: LogLevel = "info";
const said = new Set<string>();
let saysOnce = true;
let hasRoom = (): boolean => true;
let lost = 0;

/**
 * Leaves `warnOnce` to another thread: of several that meet the same thing, one
 * is to say it.
 */
export function leaveWarnOnce(): void {
  saysOnce = false;
}

/** Shows lines of `level` and of all graver ones. */
export function setLogLevel(level: LogLevel): void {
  current = level;
}

/** The level of {@linkcode setLogLevel}, for a thread that is to have it too. */
export function logLevel(): LogLevel {
  return current;
}

/**
 * Asks `ask` before each line whether standard error has room for it. A line
 * that would have to wait for a reader, and with it the thread and whoever it
 * serves, is lost instead; the next one says how many were.
 */
export function loseLinesUnless(ask: () => boolean): void {
  hasRoom = ask;
}

function line(level: LogLevel, message: string): void {
  if (RANK[level] > RANK[current]) return;
  if (!hasRoom()) {
    lost++;
    return;
  }
  const gap = lost === 0 ? "" : `ringside warn: Lines were lost: ${lost}\n`;
  lost = 0;
  try {
    console.error(`${gap}ringside ${level}: ${printable(message)}`);
  } catch {
    // The disk of the log is full, or its reader gone: no reason to end.
  }
}

/** How a line begins that is about what the log calls `name`; "" has no name. */
export function about(name: string): string {
  return name === "" ? "" : `${name}: `;
}

/** The log of this thread. */
export const log = {
  /** Something failed. */
  error: (message: string): void => line("error", message),
  /** Something works less well than it could. */
  warn: (message: string): void => line("warn", message),
  /** Something that an operator wants to know. */
  info: (message: string): void => line("info", message),
  /** Something that a developer wants to know. */
  debug: (message: string): void => line("debug", message),
  /** As `warn`, but each message once a thread; see {@linkcode leaveWarnOnce}. */
  warnOnce(message: string): void {
    if (!saysOnce || said.has(message)) return;
    said.add(message);
    line("warn", message);
  },
};
