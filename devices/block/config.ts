/**
 * `struct virtio_blk_config`, virtio 1.3 §5.2.4.
 *
 * @module
 */
import { ConfigSpace } from "../../src/device/config_space.ts";
import { SECTOR_SIZE, SEGMENT_SECTORS_MAX, SEGMENTS_MAX } from "./protocol.ts";

/** Bytes up to and with the fields of VIRTIO_BLK_F_WRITE_ZEROES. */
const CONFIG_SIZE = 60;
/** Where the driver may switch the write cache. */
const WRITEBACK = 32;

/**
 * The most data segments we say we take. We take more, but a driver without
 * indirect descriptors must get a request into its ring, whose size we are not
 * told: 128 is the smallest in use, and header and status take two.
 */
const SEG_MAX = 126;

/** What the configuration space tells of a disk. */
export interface BlockGeometry {
  /** In sectors of 512 bytes. */
  readonly sectors: number;
  /** The logical block size, in bytes. */
  readonly blockSize: number;
  /** The unit that the medium likes to write, in bytes, not below `blockSize`. */
  readonly physicalBlockSize: number;
  /** Rings. */
  readonly queueCount: number;
  /** The largest ring that is accepted. */
  readonly queueSizeMax: number;
  /** DISCARD and WRITE_ZEROES are not offered then. */
  readonly readOnly: boolean;
}

/** The configuration space of a block device. */
export class BlockConfig extends ConfigSpace {
  /** Makes the space of a disk with its write cache on. */
  constructor(disk: BlockGeometry) {
    super(CONFIG_SIZE, [[WRITEBACK, 1]]);
    const { view } = this;
    const blocks = disk.physicalBlockSize / disk.blockSize;
    this.sectors = disk.sectors;
    view.setUint32(
      12,
      Math.max(1, Math.min(SEG_MAX, disk.queueSizeMax - 2)),
      true,
    );
    view.setUint32(20, disk.blockSize, true);
    view.setUint8(24, Math.log2(blocks));
    view.setUint16(26, blocks, true); // min_io_size, in logical blocks
    view.setUint8(WRITEBACK, 1);
    view.setUint16(34, disk.queueCount, true);
    if (disk.readOnly) return;
    view.setUint32(36, SEGMENT_SECTORS_MAX, true);
    view.setUint32(40, SEGMENTS_MAX, true);
    view.setUint32(44, disk.physicalBlockSize / SECTOR_SIZE, true);
    view.setUint32(48, SEGMENT_SECTORS_MAX, true);
    view.setUint32(52, SEGMENTS_MAX, true);
    view.setUint8(56, 1); // write_zeroes_may_unmap
  }

  /** The size of the disk, in sectors of 512 bytes. */
  get sectors(): number {
    const high = this.view.getUint32(4, true);
    return this.view.getUint32(0, true) + high * 2 ** 32;
  }

  set sectors(count: number) {
    this.view.setUint32(0, count, true);
    this.view.setUint32(4, count / 2 ** 32, true);
  }

  /** Whether the write cache is on; the driver writes it by CONFIG_WCE. */
  get writeback(): boolean {
    return this.view.getUint8(WRITEBACK) !== 0;
  }

  set writeback(on: boolean) {
    this.view.setUint8(WRITEBACK, on ? 1 : 0);
  }
}
