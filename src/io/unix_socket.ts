/**
 * Unix stream sockets that carry descriptors.
 *
 * @module
 */
import { SystemError, UsageError } from "../errors.ts";
import {
  AF_UNIX,
  EADDRINUSE,
  EAGAIN,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EINTR,
  ENOENT,
  ENOTCONN,
  EPOLLERR,
  EPOLLHUP,
  EPOLLRDHUP,
  EPROTOTYPE,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SCM_MAX_FD,
  SCM_RIGHTS,
  SHUT_RDWR,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  UNIX_PATH_MAX,
} from "../ffi/abi.ts";
import { check, errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { addressOf, cString, pointerTo } from "../ffi/pointer.ts";
import { type FileKind, type FileStatus, pathStatus } from "../ffi/status.ts";
import { CMSGHDR, IOVEC, MSGHDR } from "../ffi/struct.ts";
import { Fd, setNonBlocking } from "./fd.ts";
import { pathError } from "./path_error.ts";

const STREAM = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
const BACKLOG = 16;

/** Errors of a `connect` that another attempt may not meet. */
const ABSENT: ReadonlySet<number> = new Set([EAGAIN, ECONNREFUSED, ENOENT]);

// One message at a time and thread: the calls are synchronous.
const HEADER_AT = 0;
const IOVEC_AT = 64;
const CONTROL_AT = 128;
/** Room for all descriptors of a message and some control messages more. */
const CONTROL_SIZE = 2048;
const scratch = Mapping.anonymous(4096);
const view = new DataView(scratch.buffer);
const headerPointer = pointerTo(scratch.address + HEADER_AT);

/** What was received. */
export interface Received {
  /** Bytes; 0 at the end; -EAGAIN when there is nothing yet. */
  size: number;
  /** The descriptors that came along, close-on-exec. The caller owns them. */
  fds: Fd[];
  /** Descriptors were lost: more came than fit, or than we may open. */
  truncated: boolean;
}

/**
 * A connected, non-blocking stream socket.
 *
 * @example Bytes and a descriptor
 * ```ts
 * import { EventFd } from "@ringside/ringside/testing";
 * import { UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [one, other] = UnixSocket.pair();
 * using eventFd = EventFd.open();
 * one.send(Uint8Array.of(1, 2, 3), [eventFd.fd]);
 * const { size, fds } = other.receive(new Uint8Array(8));
 * assertEquals([size, fds.length], [3, 1]);
 * for (const end of [one, other, ...fds]) end[Symbol.dispose]();
 * ```
 */
export class UnixSocket implements Disposable {
  /** The descriptor, to be polled. */
  readonly fd: Fd;

  private constructor(fd: Fd) {
    this.fd = fd;
  }

  /** Connects to the listener at `path`. Throws a SystemError or a UsageError. */
  static connect(path: string): UnixSocket {
    const address = socketAddress(path);
    const fd = openSocket();
    const failure = connect(fd.number, address);
    if (failure === 0) return new UnixSocket(fd);
    fd.close();
    const remedy = connectRemedy(failure, path);
    throw pathError("connect", failure, path, "read and write", remedy);
  }

  /** As `connect`; null where nobody listens there, or has room for one more. */
  static tryConnect(path: string): UnixSocket | null {
    try {
      return UnixSocket.connect(path);
    } catch (error) {
      const isAbsent = error instanceof SystemError &&
        ABSENT.has(error.errno) && kindAt(path) === "socket";
      if (isAbsent) return null;
      throw error;
    }
  }

  /** Two sockets, connected to each other. */
  static pair(): [UnixSocket, UnixSocket] {
    const fds = new Int32Array(2);
    check(libc.socketpair(AF_UNIX, STREAM, 0, fds), "socketpair");
    return [
      new UnixSocket(new Fd(fds[0]!)),
      new UnixSocket(new Fd(fds[1]!)),
    ];
  }

  /** Takes over a connected socket. Throws a UsageError where it is none, and leaves it open. */
  static fromFd(fd: Fd): UnixSocket {
    if (isListening(fd)) {
      throw new UsageError(
        `Descriptor ${fd.number} is a listening socket, wanted a connected one`,
      );
    }
    setNonBlocking(fd.number);
    return new UnixSocket(fd);
  }

  /**
   * Receives what fits `into`, which is not empty, and up to `fdsMax`
   * descriptors. Throws a SystemError; a connection that the peer reset is at
   * its end.
   */
  receive(
    into: Uint8Array<ArrayBuffer>,
    fdsMax: number = SCM_MAX_FD,
  ): Received {
    const controlSize = fdsMax === SCM_MAX_FD
      ? CONTROL_SIZE
      : CMSGHDR.size + 4 * fdsMax;
    aimHeader(into, controlSize);
    const flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
    const size = retry(() =>
      libc.recvmsg(this.fd.number, headerPointer, flags)
    );
    if (size < 0) {
      if (size !== -EAGAIN && size !== -ECONNRESET) {
        throw systemError("recvmsg", -size);
      }
      const end = size === -ECONNRESET;
      return { size: end ? 0 : size, fds: [], truncated: false };
    }
    const answer = view.getUint32(HEADER_AT + MSGHDR.at.flags, true);
    const truncated = (answer & MSG_CTRUNC) !== 0;
    return { size, fds: takeDescriptors(), truncated };
  }

  /**
   * Sends `bytes`, which are not empty, with `fds`: how many bytes were taken,
   * or -EAGAIN. The descriptors travel with the first byte, so a rest is sent
   * without them. Throws a SystemError, as EPIPE where the peer is gone.
   */
  send(
    bytes: Uint8Array<ArrayBuffer>,
    fds: readonly (Fd | number)[] = [],
  ): number {
    if (fds.length > SCM_MAX_FD) {
      throw new RangeError(
        `A message of ${fds.length} descriptors, the kernel takes ${SCM_MAX_FD}`,
      );
    }
    aimHeader(bytes, fds.length === 0 ? 0 : putDescriptors(fds));
    const flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    const size = retry(() =>
      libc.sendmsg(this.fd.number, headerPointer, flags)
    );
    if (size < 0 && size !== -EAGAIN) throw systemError("sendmsg", -size);
    return size;
  }

  /** Whether the peer hung up. What it sent before may still be unread. */
  hungUp(): boolean {
    // struct pollfd { int fd; short events; short revents; }
    const poll = Int32Array.of(this.fd.number, EPOLLRDHUP);
    return libc.poll(poll, 1n, 0) > 0 &&
      (poll[1]! >>> 16 & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0;
  }

  /** Ends the connection in both directions; the peer reads an end. */
  shutdown(): void {
    libc.shutdown(this.fd.number, SHUT_RDWR);
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/** A listening, non-blocking stream socket. */
export class UnixListener implements Disposable {
  /** The descriptor: readable when there is a connection to accept. */
  readonly fd: Fd;
  /** Where it listens, or "" for one that was taken over. */
  readonly path: string;
  readonly #own: FileStatus | null;

  private constructor(fd: Fd, path: string, own: FileStatus | null) {
    this.fd = fd;
    this.path = path;
    this.#own = own;
  }

  /**
   * Listens at `path`. A socket that a dead server left there is replaced; a
   * live one, or anything that is not a socket, is an error. `mode`: who may
   * connect, from the first moment on (0o600: this user). Throws a SystemError
   * or a UsageError.
   */
  static bind(path: string, mode = 0o777): UnixListener {
    const address = socketAddress(path);
    const fd = openSocket();
    try {
      // Linux gives the file the mode of the socket, less the umask.
      check(libc.fchmod(fd.number, mode), "fchmod", { path });
      let failure = bind(fd.number, address);
      if (failure === EADDRINUSE) {
        removeStale(path, address);
        failure = bind(fd.number, address);
      }
      if (failure !== 0) throw pathError("bind", failure, path, "make");
      check(libc.listen(fd.number, BACKLOG), "listen", { path });
      return new UnixListener(fd, path, pathStatus(path));
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** Takes over a listening socket. Throws a UsageError where it is none, and leaves it open. */
  static fromFd(fd: Fd): UnixListener {
    if (!isListening(fd)) {
      throw new UsageError(
        `Descriptor ${fd.number} is a connected socket, wanted a listening one`,
      );
    }
    setNonBlocking(fd.number);
    return new UnixListener(fd, "", null);
  }

  /** The next connection, or null when there is none. Throws a SystemError. */
  accept(): UnixSocket | null {
    const flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    const number = retry(() => libc.accept4(this.fd.number, null, null, flags));
    if (number >= 0) return UnixSocket.fromFd(new Fd(number));
    if (number === -EAGAIN || number === -ECONNABORTED) return null;
    throw systemError("accept4", -number, { path: this.path });
  }

  /** Closes the socket and removes it from the file system, if it is still ours. */
  [Symbol.dispose](): void {
    if (this.fd.number < 0) return;
    if (this.#own !== null && isSame(this.#own, statusOrNull(this.path))) {
      libc.unlink(cString(this.path));
    }
    this.fd.close();
  }
}

/**
 * Whether `fd` is a listening Unix stream socket; if not, it is a connected
 * one. Throws a UsageError for anything else.
 */
export function isListening(fd: Fd): boolean {
  const wanted = "wanted a Unix stream socket: pass one, or use --socket-path";
  const domain = socketOption(fd, SO_DOMAIN);
  if (domain < 0) {
    throw new UsageError(
      `Descriptor ${fd.number} is not an open socket, ${wanted}`,
    );
  }
  if (domain !== AF_UNIX || socketOption(fd, SO_TYPE) !== SOCK_STREAM) {
    throw new UsageError(
      `Descriptor ${fd.number} is a socket of another kind, ${wanted}`,
    );
  }
  if (socketOption(fd, SO_ACCEPTCONN) === 1) return true;
  if (!hasPeer(fd)) {
    throw new UsageError(
      `Descriptor ${fd.number} is a socket that neither listens nor is ` +
        "connected: call listen() on it or connect it first, or use " +
        "--socket-path",
    );
  }
  return false;
}

/** Whether `fd` was connected, be the other end closed since or not. */
function hasPeer(fd: Fd): boolean {
  const address = new Uint8Array(2 + UNIX_PATH_MAX);
  const size = Int32Array.of(address.length);
  if (libc.getpeername(fd.number, address, size) >= 0) return true;
  return errno() !== ENOTCONN;
}

function socketOption(fd: Fd, name: number): number {
  const value = new Int32Array(1);
  const size = Int32Array.of(4);
  const { number } = fd;
  const result = libc.getsockopt(number, SOL_SOCKET, name, value, size);
  return result < 0 ? -errno() : value[0]!;
}

/** `struct sockaddr_un` of `path`. */
function socketAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = cString(path);
  const size = name.length - 1;
  if (size === 0) {
    throw new UsageError("The path of a socket is empty, wanted a file name");
  }
  if (name.length > UNIX_PATH_MAX) {
    throw new UsageError(
      `The socket path is ${size} bytes long, wanted at most ` +
        `${
          UNIX_PATH_MAX - 1
        }: choose a shorter path, or a relative one (${path})`,
    );
  }
  const address = new Uint8Array(2 + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  return address;
}

function openSocket(): Fd {
  return new Fd(check(libc.socket(AF_UNIX, STREAM, 0), "socket"));
}

/** 0 or a positive errno. */
function connect(fd: number, address: Uint8Array<ArrayBuffer>): number {
  return -retry(() => libc.connect(fd, address, address.length));
}

/** What is at `path`: what is not there may become a socket. */
function kindAt(path: string): FileKind {
  return statusOrNull(path)?.kind ?? "socket";
}

/** What to do where `connect` failed, as far as it is about the server. */
function connectRemedy(failure: number, path: string): string | undefined {
  switch (failure) {
    case ECONNREFUSED: {
      const kind = kindAt(path);
      if (kind !== "socket") return `it is a ${kind}, name a socket`;
      return "start the server that listens there first";
    }
    case ENOENT:
      return "start the server that listens there first";
    case EAGAIN:
      return "too many are waiting for the server already, it hangs or serves " +
        "another: see what it does";
    case EPROTOTYPE:
      return "it is a socket of another kind, name one for streams";
  }
}

/** 0 or a positive errno. */
function bind(fd: number, address: Uint8Array<ArrayBuffer>): number {
  return libc.bind(fd, address, address.length) < 0 ? errno() : 0;
}

/** Removes the socket at `path` if nobody listens there, or throws. */
function removeStale(path: string, address: Uint8Array<ArrayBuffer>): void {
  const before = statusOrNull(path);
  if (before === null) return;
  if (before.kind !== "socket") {
    throw systemError("bind", EADDRINUSE, {
      path,
      remedy: `there is a ${before.kind} already, choose another path`,
    });
  }
  using probe = openSocket();
  const failure = connect(probe.number, address);
  if (failure !== ECONNREFUSED) {
    throw systemError("bind", EADDRINUSE, {
      path,
      remedy: "another server listens there, stop it or choose another path",
    });
  }
  // Another server may have replaced it since; that one is not stale.
  if (isSame(before, statusOrNull(path))) {
    check(libc.unlink(cString(path)), "unlink", { path });
  }
}

function statusOrNull(path: string): FileStatus | null {
  try {
    return pathStatus(path);
  } catch {
    return null;
  }
}

function isSame(one: FileStatus, other: FileStatus | null): boolean {
  return other !== null && one.device === other.device &&
    one.inode === other.inode;
}

/** The result of `call`, or its negative errno, through interruptions. */
function retry(call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const failure = errno();
    if (failure !== EINTR) return -failure;
  }
}

/** Makes the message header say: `bytes`, and `controlSize` bytes of control. */
function aimHeader(bytes: Uint8Array<ArrayBuffer>, controlSize: number): void {
  const { at } = MSGHDR;
  put64(IOVEC_AT + IOVEC.at.base, addressOf(bytes));
  put64(IOVEC_AT + IOVEC.at.size, bytes.length);
  put64(HEADER_AT + at.name, 0);
  view.setUint32(HEADER_AT + at.nameSize, 0, true);
  put64(HEADER_AT + at.iovecs, scratch.address + IOVEC_AT);
  put64(HEADER_AT + at.iovecCount, 1);
  const control = controlSize === 0 ? 0 : scratch.address + CONTROL_AT;
  put64(HEADER_AT + at.control, control);
  put64(HEADER_AT + at.controlSize, controlSize);
  view.setUint32(HEADER_AT + at.flags, 0, true);
}

/** Writes an SCM_RIGHTS message: its size. */
function putDescriptors(fds: readonly (Fd | number)[]): number {
  const size = CMSGHDR.size + 4 * fds.length;
  put64(CONTROL_AT + CMSGHDR.at.size, size);
  view.setInt32(CONTROL_AT + CMSGHDR.at.level, SOL_SOCKET, true);
  view.setInt32(CONTROL_AT + CMSGHDR.at.type, SCM_RIGHTS, true);
  let position = CONTROL_AT + CMSGHDR.size;
  for (const fd of fds) {
    const number = typeof fd === "number" ? fd : fd.number;
    view.setInt32(position, number, true);
    position += 4;
  }
  return size;
}

/** Owns every descriptor in the control messages that were received. */
function takeDescriptors(): Fd[] {
  const fds: Fd[] = [];
  const size = view.getUint32(HEADER_AT + MSGHDR.at.controlSize, true);
  const end = CONTROL_AT + size;
  let at = CONTROL_AT;
  while (at + CMSGHDR.size <= end) {
    const messageSize = view.getUint32(at + CMSGHDR.at.size, true);
    if (messageSize < CMSGHDR.size) break;
    const messageEnd = Math.min(at + messageSize, end);
    const isRights =
      view.getInt32(at + CMSGHDR.at.level, true) === SOL_SOCKET &&
      view.getInt32(at + CMSGHDR.at.type, true) === SCM_RIGHTS;
    for (let p = at + CMSGHDR.size; isRights && p + 4 <= messageEnd; p += 4) {
      fds.push(new Fd(view.getInt32(p, true)));
    }
    at += Math.ceil(messageSize / 8) * 8;
  }
  return fds;
}

function put64(offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}
