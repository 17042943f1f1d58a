/**
 * Why a load can't be measured.
 *
 * @module
 */

/** The back-end does not do what a load needs of it. For the operator. */
export class LoadError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "LoadError";
}
