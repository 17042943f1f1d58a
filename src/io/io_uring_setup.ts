/**
 * Opening an io_uring: the flags that the kernel takes, and its memory.
 *
 * @module
 */
import type { SystemError } from "../errors.ts";
import {
  EINVAL,
  ENOMEM,
  ENOSYS,
  EPERM,
  IORING_FEAT_EXT_ARG,
  IORING_FEAT_NODROP,
  IORING_FEAT_SINGLE_MMAP,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_SETUP_CLAMP,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_CQSIZE,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
  SYS_io_uring_setup,
} from "../ffi/abi.ts";
import { errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { IO_URING_CQE, IO_URING_PARAMS, IO_URING_SQE } from "../ffi/struct.ts";
import { Fd } from "./fd.ts";

const FEATURES = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP |
  IORING_FEAT_EXT_ARG;

/** The memory that the kernel and we share. Indices wrap at 2^32. */
export interface RingMemory extends Disposable {
  readonly fd: Fd;
  /** Entries of the submission queue, a power of two. */
  readonly sqEntries: number;
  /** Entries of the completion queue, a power of two. */
  readonly cqEntries: number;
  /** One element each, but for the entries. Signed, so that V8 has no doubles. */
  readonly sqTail: Int32Array;
  readonly sqFlags: Int32Array;
  readonly sqes: Int32Array;
  readonly cqHead: Int32Array;
  readonly cqTail: Int32Array;
  readonly cqes: Uint32Array;
}

/** Opens and maps an io_uring. Throws a SystemError that says what to do. */
export function setUpRing(
  entries: number,
  completions: number,
  singleThread: boolean,
): RingMemory {
  const params = new Uint8Array(IO_URING_PARAMS.size);
  const view = new DataView(params.buffer);
  const fd = open(entries, completions, singleThread, params);
  try {
    const features = view.getUint32(IO_URING_PARAMS.at.features, true);
    if ((features & FEATURES) !== FEATURES) {
      const remedy = "this kernel is too old, use Linux 5.11 or later";
      throw systemError("io_uring_setup", ENOSYS, { remedy });
    }
    return map(fd, view);
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** The best flags first: each older kernel lacks some. */
function flagSets(singleThread: boolean): number[] {
  const basic = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  const modern = basic | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
    IORING_SETUP_TASKRUN_FLAG;
  const single = modern | IORING_SETUP_SINGLE_ISSUER |
    IORING_SETUP_DEFER_TASKRUN;
  return singleThread ? [single, modern, basic] : [modern, basic];
}

function open(
  entries: number,
  completions: number,
  singleThread: boolean,
  params: Uint8Array<ArrayBuffer>,
): Fd {
  const view = new DataView(params.buffer);
  let failure = 0;
  for (const flags of flagSets(singleThread)) {
    params.fill(0);
    view.setUint32(IO_URING_PARAMS.at.flags, flags, true);
    view.setUint32(IO_URING_PARAMS.at.cqEntries, completions, true);
    const number = libc.ioUringSetup(SYS_io_uring_setup, entries, params);
    if (number >= 0) return new Fd(number);
    failure = errno();
    if (failure !== EINVAL) break;
  }
  throw setUpError(failure);
}

function setUpError(failure: number): SystemError {
  switch (failure) {
    case EPERM:
    case ENOSYS:
      return systemError("io_uring_setup", failure, {
        remedy: "io_uring is forbidden here, see sysctl " +
          "kernel.io_uring_disabled and the container's seccomp profile, " +
          "or use --io-engine sync",
      });
    case ENOMEM:
      return systemError("io_uring_setup", failure, {
        remedy: "raise the limit of locked memory (ulimit -l)",
      });
    default:
      return systemError("io_uring_setup", failure);
  }
}

function map(fd: Fd, params: DataView): RingMemory {
  const { at } = IO_URING_PARAMS;
  const u32 = (offset: number) => params.getUint32(offset, true);
  const sqEntries = u32(at.sqEntries);
  const cqEntries = u32(at.cqEntries);
  const sqArray = u32(at.sqArray);
  const cqCqes = u32(at.cqCqes);
  const ringSize = Math.max(
    sqArray + sqEntries * 4,
    cqCqes + cqEntries * IO_URING_CQE.size,
  );
  const sqesSize = sqEntries * IO_URING_SQE.size;
  const ring = Mapping.shared(fd.number, ringSize, IORING_OFF_SQ_RING);
  const sqes = Mapping.shared(fd.number, sqesSize, IORING_OFF_SQES);
  // Entry i of the ring is always submission i: the array is never touched again.
  const array = new Uint32Array(ring.buffer, sqArray, sqEntries);
  for (let i = 0; i < sqEntries; i++) array[i] = i;
  const word = (offset: number) => new Int32Array(ring.buffer, offset, 1);
  return {
    fd,
    sqEntries,
    cqEntries,
    sqTail: word(u32(at.sqTail)),
    sqFlags: word(u32(at.sqFlags)),
    sqes: new Int32Array(sqes.buffer),
    cqHead: word(u32(at.cqHead)),
    cqTail: word(u32(at.cqTail)),
    cqes: new Uint32Array(ring.buffer, cqCqes, cqEntries * 4),
    [Symbol.dispose]: () => {
      fd.close();
      ring[Symbol.dispose]();
      sqes[Symbol.dispose]();
    },
  };
}
