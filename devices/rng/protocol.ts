/**
 * Numbers of virtio 1.3 §5.4, in its spelling.
 *
 * @module
 */

/** §5.4.1 */
export const VIRTIO_ID_ENTROPY = 4;
