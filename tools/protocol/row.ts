/**
 * What is said by hand of one request or one feature. Whether it is served is
 * not: that is read from the program.
 *
 * @module
 */

/** A line of a table. */
export interface Row {
  /** Where it is served, or why it is not; "" where nothing is to be said. */
  readonly note: string;
  /**
   * Tests that show it, served or refused: numbers of the conformance list, as
   * `[C54]`, or parts of names.
   */
  readonly tests: readonly string[];
  /** libvhost-user, the vhost crate, SPDK: `yes`, `no` or a word more. */
  readonly peers: readonly [string, string, string];
}

/** A row; `peers` are three words, of which `_` stands for a space. */
export function row(
  note: string,
  peers: string,
  ...tests: string[]
): Row {
  const words = peers.split(" ").map((word) => word.replaceAll("_", " "));
  const [libvhostUser = "", crate = "", spdk = ""] = words;
  return { note, tests, peers: [libvhostUser, crate, spdk] };
}
