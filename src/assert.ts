/** Throws when one of our own invariants does not hold: a defect of ringside. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`Defect in ringside: ${message}`);
}
