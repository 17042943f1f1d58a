/**
 * Names and numbers of the block device, virtio 1.3 §5.2, as the
 * specification spells them.
 *
 * @module
 */
import type { FeatureNames } from "../../src/device/features.ts";

/** The device id, §5. */
export const VIRTIO_ID_BLOCK = 2;

/** The unit of every sector number, whatever the logical block size. */
export const SECTOR_SIZE = 512;

// Feature bits, §5.2.3
/** The most segments in a request is in `seg_max`. */
export const VIRTIO_BLK_F_SEG_MAX = 1n << 2n;
/** The disk is read-only. */
export const VIRTIO_BLK_F_RO = 1n << 5n;
/** The logical block size is in `blk_size`. */
export const VIRTIO_BLK_F_BLK_SIZE = 1n << 6n;
/** The FLUSH request. */
export const VIRTIO_BLK_F_FLUSH = 1n << 9n;
/** What the medium likes is in `topology`. */
export const VIRTIO_BLK_F_TOPOLOGY = 1n << 10n;
/** The driver may switch the write cache through `writeback`. */
export const VIRTIO_BLK_F_CONFIG_WCE = 1n << 11n;
/** More than one virtqueue. */
export const VIRTIO_BLK_F_MQ = 1n << 12n;
/** The DISCARD request. */
export const VIRTIO_BLK_F_DISCARD = 1n << 13n;
/** The WRITE_ZEROES request. */
export const VIRTIO_BLK_F_WRITE_ZEROES = 1n << 14n;
/** All of them by name. */
export const FEATURE_NAMES: FeatureNames = {
  SEG_MAX: VIRTIO_BLK_F_SEG_MAX,
  RO: VIRTIO_BLK_F_RO,
  BLK_SIZE: VIRTIO_BLK_F_BLK_SIZE,
  FLUSH: VIRTIO_BLK_F_FLUSH,
  TOPOLOGY: VIRTIO_BLK_F_TOPOLOGY,
  CONFIG_WCE: VIRTIO_BLK_F_CONFIG_WCE,
  MQ: VIRTIO_BLK_F_MQ,
  DISCARD: VIRTIO_BLK_F_DISCARD,
  WRITE_ZEROES: VIRTIO_BLK_F_WRITE_ZEROES,
};

// Request types, §5.2.6
export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

// The status byte, §5.2.6
export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

/** Bytes of `struct virtio_blk_req` before its data: type, reserved, sector. */
export const HEADER_SIZE = 16;
/** Bytes of the answer to GET_ID; all of them text when there is no NUL. */
export const ID_SIZE = 20;
/** Bytes of `struct virtio_blk_discard_write_zeroes`: sector, count, flags. */
export const SEGMENT_SIZE = 16;
/** The one flag of a segment: the device may deallocate it. */
export const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;

/**
 * The most segments we take in one DISCARD or WRITE_ZEROES: what Linux sends
 * at most.
 */
export const SEGMENTS_MAX = 256;
/**
 * The most sectors we take in one of those segments, 2 GiB: its bytes fit 32
 * bits.
 */
export const SEGMENT_SECTORS_MAX = 1 << 22;
