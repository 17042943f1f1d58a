/**
 * Constants of the Linux ABI with the spelling of its headers. What differs
 * between architectures is in one table; the rest is the same on x86-64 and
 * aarch64 (asm-generic).
 *
 * @module
 */
import { UsageError } from "../errors.ts";

interface Architecture {
  readonly O_DIRECT: number;
  /** x86-64 packs `struct epoll_event`: 12 bytes instead of 16. */
  readonly EPOLL_EVENT_PACKED: boolean;
  readonly SYS_getrandom: number;
  readonly SYS_io_uring_setup: number;
  readonly SYS_io_uring_enter: number;
  readonly SYS_io_uring_register: number;
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x86_64: {
    O_DIRECT: 0x4000,
    EPOLL_EVENT_PACKED: true,
    SYS_getrandom: 318,
    SYS_io_uring_setup: 425,
    SYS_io_uring_enter: 426,
    SYS_io_uring_register: 427,
  },
  aarch64: {
    O_DIRECT: 0x10000,
    EPOLL_EVENT_PACKED: false,
    SYS_getrandom: 278,
    SYS_io_uring_setup: 425,
    SYS_io_uring_enter: 426,
    SYS_io_uring_register: 427,
  },
};

function architecture(): Architecture {
  const { os, arch } = Deno.build;
  const known = os === "linux" ? ARCHITECTURES[arch] : undefined;
  if (known === undefined) {
    throw new UsageError(
      `This is ${os} on ${arch}, wanted Linux on x86_64 or aarch64: ` +
        "run ringside on such a host or in a virtual machine of one",
    );
  }
  return known;
}

/** The row of this machine. */
const HERE: Architecture = architecture();

// errno-base.h, errno.h
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOTTY = 25;
export const ETXTBSY = 26;
export const EFBIG = 27;
export const ENOSPC = 28;
export const ESPIPE = 29;
export const EROFS = 30;
export const EPIPE = 32;
export const ENAMETOOLONG = 36;
export const ENOSYS = 38;
export const ELOOP = 40;
export const ETIME = 62;
export const EOVERFLOW = 75;
export const EBADFD = 77;
export const ENOTSOCK = 88;
export const EMSGSIZE = 90;
export const EPROTOTYPE = 91;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const ENETDOWN = 100;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOTCONN = 107;
export const ECONNREFUSED = 111;
export const EINPROGRESS = 115;
export const EDQUOT = 122;
export const ECANCELED = 125;

// fcntl.h
export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_ACCMODE = 3;
export const O_CREAT = 0x40;
export const O_TRUNC = 0x200;
export const O_APPEND = 0x400;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;
export const O_DIRECT: number = HERE.O_DIRECT;
export const F_GETFD = 1;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const F_OFD_SETLK = 37;
export const F_WRLCK = 1;
export const F_UNLCK = 2;
export const F_ADD_SEALS = 1033;
export const F_GET_SEALS = 1034;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const F_SEAL_WRITE = 8;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 16;

// bits/resource.h
export const RLIMIT_NOFILE = 7;

// linux/stat.h
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_DIOALIGN = 0x2000;

// linux/fs.h
export const BLKSSZGET = 0x1268;
export const BLKDISCARD = 0x1277;
export const BLKPBSZGET = 0x127b;
export const BLKZEROOUT = 0x127f;
export const BLKGETSIZE64 = 0x80081272;
export const RWF_DSYNC = 2;

// sys/uio.h
export const IOV_MAX = 1024;

// sys/mman.h
export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;
export const MFD_CLOEXEC = 1;
export const MFD_ALLOW_SEALING = 2;
export const MFD_HUGETLB = 4;
export const MFD_HUGE_2MB = 0x54000000;

// sys/eventfd.h
export const EFD_CLOEXEC = 0x80000;
export const EFD_NONBLOCK = 0x800;

// sys/epoll.h, poll.h
export const EPOLL_CLOEXEC = 0x80000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
/** As EPOLLOUT, for poll(2). */
export const POLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 16;
export const EPOLLRDHUP = 0x2000;
export const EPOLLONESHOT = 0x40000000;
export const EPOLLET = 0x80000000;
export const POLLIN = 1;

// time.h, sys/timerfd.h
export const CLOCK_MONOTONIC = 1;
export const TFD_NONBLOCK = 0x800;
export const TFD_CLOEXEC = 0x80000;

// sys/inotify.h
export const IN_NONBLOCK = 0x800;
export const IN_CLOEXEC = 0x80000;
export const IN_MODIFY = 2;
export const IN_ONESHOT = 0x80000000;

// linux/magic.h
export const TMPFS_MAGIC = 0x01021994;
export const EXT4_SUPER_MAGIC = 0xef53;
export const XFS_SUPER_MAGIC = 0x58465342;
export const BTRFS_SUPER_MAGIC = 0x9123683e;

// sys/random.h
export const SYS_getrandom: number = HERE.SYS_getrandom;
export const GRND_NONBLOCK = 1;

// sys/socket.h, linux/un.h
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SO_ACCEPTCONN = 30;
export const SO_DOMAIN = 39;
export const SCM_RIGHTS = 1;
/** The most descriptors that the kernel takes in one message. */
export const SCM_MAX_FD = 253;
export const MSG_CTRUNC = 8;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const SHUT_RDWR = 2;
/** Bytes of a path in `struct sockaddr_un`, its final NUL included. */
export const UNIX_PATH_MAX = 108;

// linux/if.h, linux/sockios.h
/** Bytes of an interface's name, its final NUL included. */
export const IFNAMSIZ = 16;
export const SIOCGIFMTU = 0x8921;

// linux/if_tun.h
export const TUNSETIFF = 0x400454ca;
export const TUNSETOFFLOAD = 0x400454d0;
export const TUNGETIFF = 0x800454d2;
export const TUNGETSNDBUF = 0x800454d3;
export const TUNSETVNETHDRSZ = 0x400454d8;
export const TUNSETQUEUE = 0x400454d9;
export const TUNSETVNETLE = 0x400454dc;
export const TUNSETCARRIER = 0x400454e2;
export const IFF_TAP = 2;
export const IFF_MULTI_QUEUE = 0x100;
export const IFF_ATTACH_QUEUE = 0x200;
export const IFF_DETACH_QUEUE = 0x400;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;
export const TUN_F_CSUM = 1;
export const TUN_F_TSO4 = 2;
export const TUN_F_TSO6 = 4;
export const TUN_F_TSO_ECN = 8;
export const TUN_F_UFO = 0x10;
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;

// linux/io_uring.h
export const SYS_io_uring_setup: number = HERE.SYS_io_uring_setup;
export const SYS_io_uring_enter: number = HERE.SYS_io_uring_enter;
export const SYS_io_uring_register: number = HERE.SYS_io_uring_register;
export const IORING_SETUP_CQSIZE = 1 << 3;
export const IORING_SETUP_CLAMP = 1 << 4;
export const IORING_SETUP_SUBMIT_ALL = 1 << 7;
export const IORING_SETUP_COOP_TASKRUN = 1 << 8;
export const IORING_SETUP_TASKRUN_FLAG = 1 << 9;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
export const IORING_FEAT_SINGLE_MMAP = 1 << 0;
export const IORING_FEAT_NODROP = 1 << 1;
export const IORING_FEAT_EXT_ARG = 1 << 8;
export const IORING_ENTER_GETEVENTS = 1 << 0;
export const IORING_ENTER_EXT_ARG = 1 << 3;
export const IORING_OFF_SQ_RING = 0;
export const IORING_OFF_SQES = 0x10000000;
export const IORING_SQ_CQ_OVERFLOW = 1 << 1;
export const IORING_SQ_TASKRUN = 1 << 2;
export const IORING_CQE_F_MORE = 1 << 1;
export const IORING_OP_NOP = 0;
export const IORING_OP_READV = 1;
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_POLL_ADD = 6;
export const IORING_OP_POLL_REMOVE = 7;
export const IORING_OP_TIMEOUT = 11;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_FALLOCATE = 17;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_FSYNC_DATASYNC = 1;
export const IORING_POLL_ADD_MULTI = 1;
export const IOSQE_FIXED_FILE = 1;
export const IORING_REGISTER_FILES = 2;
export const IORING_REGISTER_FILES_UPDATE = 6;

/** Whether `struct epoll_event` is packed here. */
export const EPOLL_EVENT_PACKED: boolean = HERE.EPOLL_EVENT_PACKED;
