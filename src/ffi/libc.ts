/**
 * The C library: one table, the C prototype on every line, camelCase aliases.
 *
 * Symbols that the data plane calls have no 64-bit integer parameter that is
 * given a Number: that deoptimises for ever ("not a BigInt"). Where the kernel
 * wants a 64-bit value in a register (a file offset), the caller loads it as a
 * bigint from a BigInt64Array: measured over 3 M calls of preadv2, V8 lowers
 * that load to a plain word, with no deoptimisation and no collection. A
 * `size_t` that is always below 2^32 is declared `u32`, a `ssize_t` that is
 * `i32` (the kernel moves at most 0x7ffff000 bytes a call).
 *
 * @module
 */
import { UsageError } from "../errors.ts";

const SYMBOLS = {
  // memory
  // void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
  mmap: {
    parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
    result: "pointer",
  },
  // void *mremap(void *old_address, size_t old_size, size_t new_size, int flags, void *new_address);
  mremap: {
    parameters: ["pointer", "usize", "usize", "i32", "pointer"],
    result: "pointer",
  },
  // int munmap(void *addr, size_t length);
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  // int mlock(const void *addr, size_t length);
  mlock: { parameters: ["pointer", "usize"], result: "i32" },
  // int memfd_create(const char *name, unsigned int flags);
  memfdCreate: {
    name: "memfd_create",
    parameters: ["buffer", "u32"],
    result: "i32",
  },

  // descriptors
  // int open(const char *path, int flags, ...);
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  // int close(int fd);
  close: { parameters: ["i32"], result: "i32" },
  // ssize_t read(int fd, void *buf, size_t count);
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t readv(int fd, const struct iovec *iov, int iovcnt);
  readv: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // ssize_t writev(int fd, const struct iovec *iov, int iovcnt);
  writev: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // ssize_t write(int fd, const void *buf, size_t count);
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // int fcntl(int fd, int cmd, ...);
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int fcntl(int fd, F_OFD_SETLK, struct flock *);
  fcntlLock: {
    name: "fcntl",
    parameters: ["i32", "i32", "buffer"],
    result: "i32",
  },
  // int ioctl(int fd, unsigned long request, ...);
  ioctl: { parameters: ["i32", "u32", "buffer"], result: "i32" },
  // The same for requests whose argument is no pointer.
  ioctlValue: {
    name: "ioctl",
    parameters: ["i32", "u32", "u32"],
    result: "i32",
  },
  // int eventfd(unsigned int initval, int flags);
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  // int timerfd_create(int clockid, int flags);
  timerfdCreate: {
    name: "timerfd_create",
    parameters: ["i32", "i32"],
    result: "i32",
  },
  // int timerfd_settime(int fd, int flags, const struct itimerspec *new_value, struct itimerspec *old_value);
  timerfdSettime: {
    name: "timerfd_settime",
    parameters: ["i32", "i32", "buffer", "pointer"],
    result: "i32",
  },
  // int inotify_init1(int flags);
  inotifyInit1: { name: "inotify_init1", parameters: ["i32"], result: "i32" },
  // int inotify_add_watch(int fd, const char *path, uint32_t mask);
  inotifyAddWatch: {
    name: "inotify_add_watch",
    parameters: ["i32", "buffer", "u32"],
    result: "i32",
  },
  // int pipe2(int pipefd[2], int flags);
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },

  // files
  // int statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *buf);
  statx: {
    parameters: ["i32", "buffer", "i32", "u32", "buffer"],
    result: "i32",
  },
  // ssize_t preadv2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags);
  preadv2: {
    parameters: ["i32", "buffer", "i32", "i64", "i32"],
    result: "i32",
  },
  // ssize_t pwritev2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags);
  pwritev2: {
    parameters: ["i32", "buffer", "i32", "i64", "i32"],
    result: "i32",
  },
  // int fdatasync(int fd);
  fdatasync: { parameters: ["i32"], result: "i32" },
  // int fstatfs(int fd, struct statfs *buf);
  fstatfs: { parameters: ["i32", "buffer"], result: "i32" },
  // int fsync(int fd);
  fsync: { parameters: ["i32"], result: "i32" },
  // int fallocate(int fd, int mode, off_t offset, off_t len);
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  // int ftruncate(int fd, off_t length);
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  // int fchmod(int fd, mode_t mode);
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  // int unlink(const char *path);
  unlink: { parameters: ["buffer"], result: "i32" },

  // sockets
  // int socket(int domain, int type, int protocol);
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int socketpair(int domain, int type, int protocol, int sv[2]);
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  // int bind(int fd, const struct sockaddr *addr, socklen_t len);
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // int listen(int fd, int backlog);
  listen: { parameters: ["i32", "i32"], result: "i32" },
  // int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  // int connect(int fd, const struct sockaddr *addr, socklen_t len);
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t recvmsg(int fd, struct msghdr *msg, int flags);
  recvmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
  // ssize_t sendmsg(int fd, const struct msghdr *msg, int flags);
  sendmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
  // int getsockopt(int fd, int level, int name, void *value, socklen_t *len);
  getsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "buffer"],
    result: "i32",
  },
  // int getpeername(int fd, struct sockaddr *addr, socklen_t *len);
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int shutdown(int fd, int how);
  shutdown: { parameters: ["i32", "i32"], result: "i32" },

  // epoll
  // int epoll_create1(int flags);
  epollCreate1: { name: "epoll_create1", parameters: ["i32"], result: "i32" },
  // int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
  epollCtl: {
    name: "epoll_ctl",
    parameters: ["i32", "i32", "i32", "buffer"],
    result: "i32",
  },
  // int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout);
  epollWait: {
    name: "epoll_wait",
    parameters: ["i32", "pointer", "i32", "i32"],
    result: "i32",
  },
  // The same on a pool thread: resolves when it returns. errno is lost.
  epollWaitAsync: {
    name: "epoll_wait",
    parameters: ["i32", "pointer", "i32", "i32"],
    result: "i32",
    nonblocking: true,
  },

  // int poll(struct pollfd *fds, nfds_t nfds, int timeout);
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },

  // io_uring
  // int io_uring_setup(u32 entries, struct io_uring_params *p);
  ioUringSetup: {
    name: "syscall",
    parameters: ["i32", "u32", "buffer"],
    result: "i32",
  },
  // int io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int
  // min_complete, unsigned int flags, const void *arg, size_t argsz);
  // argsz is passed on the stack, where only a 64-bit type is written whole:
  // so it is a pointer of that value.
  ioUringEnter: {
    name: "syscall",
    parameters: ["i32", "i32", "u32", "u32", "u32", "pointer", "pointer"],
    result: "i32",
  },
  // int io_uring_register(unsigned int fd, unsigned int opcode, void *arg, unsigned int nr_args);
  ioUringRegister: {
    name: "syscall",
    parameters: ["i32", "i32", "u32", "buffer", "u32"],
    result: "i32",
  },

  // random numbers
  // int clock_gettime(clockid_t clockid, struct timespec *tp);
  clockGettime: {
    name: "clock_gettime",
    parameters: ["i32", "buffer"],
    result: "i32",
  },
  // ssize_t getrandom(void *buf, size_t buflen, unsigned int flags);
  // The system call: from glibc 2.41 on the function writes the bytes itself,
  // where the kernel answers EFAULT for memory that is gone.
  getrandom: {
    name: "syscall",
    parameters: ["i32", "u64", "u32", "u32"],
    result: "i32",
  },

  // the process
  // int *__errno_location(void);
  errnoLocation: {
    name: "__errno_location",
    parameters: [],
    result: "pointer",
  },
  // int getrlimit(int resource, struct rlimit *rlim);
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  // int getpagesize(void);
  getpagesize: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of {@linkcode libc}. */
export type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** Opens the C library for the one symbol `name`. */
function bind(name: string, symbol: Deno.ForeignFunction): unknown {
  try {
    return Deno.dlopen("libc.so.6", { [name]: symbol }).symbols[name];
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new UsageError(
        "The permission to call the C library is missing: " +
          "run with deno run --allow-ffi",
      );
    }
    throw new UsageError(
      `The C library can't be loaded (${(error as Error).message}), ` +
        "wanted glibc 2.28 or later: run ringside on a host that has it",
    );
  }
}

/**
 * Deno compiles a trampoline for each symbol that is bound, 0.15 ms each and
 * once more on each thread: so a symbol is bound when it is first looked up.
 * V8 inlines the getter, and a hot call costs what it did.
 */
function load(): Libc {
  const library = {};
  for (const [name, symbol] of Object.entries(SYMBOLS)) {
    let bound: unknown = null;
    Object.defineProperty(library, name, {
      enumerable: true,
      get: () => bound ??= bind(name, symbol),
      // For tests of what a kernel refuses.
      set: (other) => bound = other,
    });
  }
  return library as Libc;
}

/**
 * The C library. Right after a failed synchronous call, `errno()` says why.
 *
 * @throws {UsageError} at the load of this module, where it may not be called
 */
export const libc: Libc = load();
