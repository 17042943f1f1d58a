/**
 * TAP interfaces of the kernel: Ethernet frames by read and write.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import {
  AF_UNIX,
  EBADFD,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  EPERM,
  IFF_DETACH_QUEUE,
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  IFNAMSIZ,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  SIOCGIFMTU,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_TSO_ECN,
  TUN_F_UFO,
  TUN_F_USO4,
  TUN_F_USO6,
  TUNGETIFF,
  TUNSETCARRIER,
  TUNSETIFF,
  TUNSETOFFLOAD,
  TUNSETQUEUE,
  TUNSETVNETHDRSZ,
  TUNSETVNETLE,
} from "../ffi/abi.ts";
import { check, errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { IFREQ } from "../ffi/struct.ts";
import { Fd, setNonBlocking } from "./fd.ts";

const DEVICE = "/dev/net/tun";
/** `struct virtio_net_hdr_mrg_rxbuf` before each frame. */
const HEADER_SIZE = 12;
const FLAGS = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

/** What a kernel may take, as `TUN_F_*`; the others need TUN_F_CSUM. */
const OFFLOADS = [
  TUN_F_CSUM,
  TUN_F_CSUM | TUN_F_TSO4,
  TUN_F_CSUM | TUN_F_TSO6,
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN,
  TUN_F_CSUM | TUN_F_UFO,
  TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6,
];

/**
 * A TAP interface with one queue or more, of which only the first is attached:
 * the kernel gives it all frames until others are. Before each frame is a virtio header
 * of 12 bytes, little-endian, whose last two bytes the kernel leaves alone.
 * Failing methods throw a SystemError.
 */
export class Tap implements Disposable {
  /** Of the interface. */
  readonly name: string;
  /** One descriptor a queue, non-blocking. */
  readonly queues: readonly Fd[];
  /** The `TUN_F_*` bits that the kernel takes. */
  readonly offloads: number;
  readonly #flags: number;

  private constructor(name: string, queues: readonly Fd[], flags: number) {
    this.name = name;
    this.queues = queues;
    this.#flags = flags;
    for (const queue of queues) prepare(queue.number, name);
    this.#detachOthers();
    this.offloads = this.#probeOffloads();
  }

  /**
   * Attaches to interface `name` with `queueCount` queues; where there is none,
   * and the process may, makes it, until it is closed. `%d` in a name is
   * replaced by a number. Throws a SystemError that says what to do.
   */
  static open(name: string, queueCount: number): Tap {
    const queues: Fd[] = [];
    let flags = FLAGS | (queueCount > 1 ? IFF_MULTI_QUEUE : 0);
    let known = name;
    try {
      for (let i = 0; i < queueCount; i++) {
        const queue = openDevice();
        queues.push(queue);
        let result = attach(queue.number, known, flags);
        if (result === -EINVAL && queueCount === 1) {
          // A persistent one that was made for several queues.
          flags |= IFF_MULTI_QUEUE;
          result = attach(queue.number, known, flags);
        }
        if (result < 0) throw attachError(name, -result, queueCount);
        known = interfaceOf(queue.number).name;
      }
      return new Tap(known, queues, flags);
    } catch (error) {
      for (const queue of queues) queue.close();
      throw error;
    }
  }

  /**
   * Takes over descriptors that somebody else attached to one interface, one a
   * queue. Throws a UsageError where they are none, and leaves them open then.
   */
  static fromFds(numbers: readonly number[]): Tap {
    let name = "";
    let flags = 0;
    for (const number of numbers) {
      const found = interfaceOf(number);
      if ((found.flags & FLAGS) !== FLAGS) {
        throw new UsageError(
          `Descriptor ${number} is open on ${found.name}, which is no TAP ` +
            "with virtio headers: open it with IFF_TAP, IFF_NO_PI and " +
            "IFF_VNET_HDR",
        );
      }
      if (name !== "" && name !== found.name) {
        throw new UsageError(
          `The descriptors are open on ${name} and on ${found.name}, wanted ` +
            "one interface: pass the queues of one",
        );
      }
      name = found.name;
      flags = found.flags & (FLAGS | IFF_MULTI_QUEUE);
      setNonBlocking(number);
    }
    return new Tap(name, numbers.map((number) => new Fd(number)), flags);
  }

  /** Lets the kernel hand over frames that need these `TUN_F_*` treatments. */
  setOffload(bits: number): void {
    const fd = this.queues[0]!.number;
    const result = libc.ioctlValue(fd, TUNSETOFFLOAD, bits);
    check(result, "ioctl TUNSETOFFLOAD", { path: this.name });
  }

  /** Makes the interface have a carrier, or none. False where it can't. */
  setCarrier(up: boolean): boolean {
    const value = Uint32Array.of(up ? 1 : 0);
    return libc.ioctl(this.queues[0]!.number, TUNSETCARRIER, value) === 0;
  }

  /** The interface's MTU, or null where it is not in our network namespace. */
  mtu(): number | null {
    const flags = SOCK_STREAM | SOCK_CLOEXEC;
    const socket = new Fd(check(libc.socket(AF_UNIX, flags, 0), "socket"));
    try {
      const request = interfaceRequest(this.name, 0);
      if (libc.ioctl(socket.number, SIOCGIFMTU, request) < 0) return null;
      return new DataView(request.buffer).getInt32(IFREQ.at.value, true);
    } finally {
      socket.close();
    }
  }

  /** Whether the interface is still there. */
  isAttached(): boolean {
    const request = new Uint8Array(IFREQ.size);
    const fd = this.queues[0]!.number;
    return libc.ioctl(fd, TUNGETIFF, request) === 0;
  }

  /**
   * Attaches to the interface of the same name again, after it was removed.
   * False where that is not possible now.
   */
  reattach(): boolean {
    for (const queue of this.queues) {
      const result = attach(queue.number, this.name, this.#flags);
      if (result < 0 && !isAttachedTo(queue.number, this.name)) return false;
      prepare(queue.number, this.name);
    }
    this.#detachOthers();
    return true;
  }

  /** Gives `frame`, with its header, to the host. 0 or a negative errno. */
  write(frame: Uint8Array<ArrayBuffer>): number {
    const fd = this.queues[0]!.number;
    return libc.write(fd, frame, frame.length) < 0 ? -errno() : 0;
  }

  /** Closes the queues. An interface that is not persistent goes with them. */
  [Symbol.dispose](): void {
    for (const queue of this.queues) queue.close();
  }

  #detachOthers(): void {
    const request = new Uint8Array(IFREQ.size);
    new DataView(request.buffer)
      .setUint16(IFREQ.at.value, IFF_DETACH_QUEUE, true);
    // One that is detached already refuses.
    for (const { number } of this.queues.slice(1)) {
      libc.ioctl(number, TUNSETQUEUE, request);
    }
  }

  #probeOffloads(): number {
    const fd = this.queues[0]!.number;
    let bits = 0;
    for (const wanted of OFFLOADS) {
      if (libc.ioctlValue(fd, TUNSETOFFLOAD, wanted) === 0) bits |= wanted;
    }
    this.setOffload(0);
    return bits;
  }
}

/** The name and flags of the interface that `fd` is a queue of. */
function interfaceOf(fd: number): { name: string; flags: number } {
  const request = new Uint8Array(IFREQ.size);
  if (libc.ioctl(fd, TUNGETIFF, request) < 0) {
    const failure = errno();
    if (failure !== EBADFD) {
      throw new UsageError(
        `Descriptor ${fd} is no TAP queue: pass one that is open on ` +
          `${DEVICE}`,
      );
    }
    throw new UsageError(
      `Descriptor ${fd} is not attached to an interface: apply TUNSETIFF`,
    );
  }
  const end = request.indexOf(0);
  const name = new TextDecoder().decode(request.subarray(0, end));
  const view = new DataView(request.buffer);
  return { name, flags: view.getUint16(IFREQ.at.value, true) };
}

function isAttachedTo(fd: number, name: string): boolean {
  const request = new Uint8Array(IFREQ.size);
  return libc.ioctl(fd, TUNGETIFF, request) === 0 &&
    interfaceOf(fd).name === name;
}

function openDevice(): Fd {
  const flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
  const number = libc.open(cString(DEVICE), flags, 0);
  if (number >= 0) return new Fd(number);
  const failure = errno();
  throw systemError("open", failure, {
    path: DEVICE,
    remedy: failure === ENOENT || failure === ENODEV
      ? "load the module tun, or pass the device into the container"
      : "let this user open it",
  });
}

/** Applies TUNSETIFF: 0 or a negative errno. */
function attach(fd: number, name: string, flags: number): number {
  const request = interfaceRequest(name, flags);
  return libc.ioctl(fd, TUNSETIFF, request) < 0 ? -errno() : 0;
}

function interfaceRequest(
  name: string,
  value: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length >= IFNAMSIZ || bytes.includes(0)) {
    throw new UsageError(
      `The interface name "${name}" has ${bytes.length} bytes, wanted 1 to ` +
        `${IFNAMSIZ - 1}: choose another`,
    );
  }
  const request = new Uint8Array(IFREQ.size);
  request.set(bytes);
  new DataView(request.buffer).setUint32(IFREQ.at.value, value, true);
  return request;
}

/** Agrees with the kernel on the header. */
function prepare(fd: number, path: string): void {
  const size = Uint32Array.of(HEADER_SIZE);
  const one = Uint32Array.of(1);
  check(libc.ioctl(fd, TUNSETVNETHDRSZ, size), "ioctl TUNSETVNETHDRSZ", {
    path,
  });
  check(libc.ioctl(fd, TUNSETVNETLE, one), "ioctl TUNSETVNETLE", { path });
}

function attachError(name: string, failure: number, queueCount: number): Error {
  const more = queueCount > 1 ? " multi_queue" : "";
  const make = `ip tuntap add dev ${name} mode tap vnet_hdr${more} user USER`;
  const remedies: Record<number, string> = {
    [EPERM]: `an administrator can make it for this user: ${make}`,
    [EBUSY]: "another process has it, or all of its queues: end that one",
    [EINVAL]: `it is of another kind, make it anew: ${make}`,
  };
  const remedy = remedies[failure];
  return systemError("ioctl TUNSETIFF", failure, {
    path: name,
    ...(remedy === undefined ? {} : { remedy }),
  });
}
