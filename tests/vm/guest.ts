/**
 * A Linux guest in QEMU (software emulation) whose disks, network cards and
 * entropy devices are served by vhost-user back-ends.
 *
 * @module
 */
import type { BootFiles } from "./initramfs.ts";
import { withDeadline } from "./deadline.ts";
import { Monitor } from "./monitor.ts";

/** A disk of a guest: one vhost-user-blk device. `/dev/vda` is the first. */
export interface GuestDisk {
  /** The socket a back-end listens on. */
  socketPath: string;
  /** `num-queues` of the device; 4 unless given. */
  queueCount?: number;
  /** `queue-size` of the device, in entries; 128 unless given. */
  queueSize?: number;
  /** How often QEMU looks for a new back-end when this one is gone; else never. */
  reconnectSeconds?: number;
  /** Whether it has packed rings; split ones unless given. */
  packed?: boolean;
}

/** A network card of a guest: its netdev, vhost-user's, and its virtio-net device. */
export interface GuestCard {
  /** The socket a back-end listens on; nobody where `tapName` is given. */
  socketPath: string;
  /** QEMU serves the card itself, on this TAP interface. */
  tapName?: string;
  /** What the guest knows it by. */
  mac: string;
  /** Queue pairs; 1 unless given. */
  pairCount?: number;
  /** `host_mtu` of the device: QEMU hands it to guest and back-end. */
  mtu?: number;
  /** Features that QEMU keeps from the guest: `csum`, `host_tso4` ... */
  without?: readonly string[];
  /** Whether it has packed rings; split ones unless given. */
  packed?: boolean;
}

/** An entropy device of a guest; `virtio_rng.0` is the first. */
export interface GuestEntropy {
  /** The socket a back-end listens on. */
  socketPath: string;
  /** Whether it has packed rings; split ones unless given. */
  packed?: boolean;
}

/** What a script in the guest left. */
export interface ScriptResult {
  /** Its exit status. */
  status: number;
  /** Its standard output. */
  stdout: string;
  /** Its standard error. */
  stderr: string;
}

/** Options of {@linkcode Guest.boot}. */
export interface GuestOptions {
  /** Kernel and initial root. */
  boot: BootFiles;
  /** The disks, in the order the guest names them. */
  disks?: GuestDisk[];
  /** The network cards. */
  cards?: GuestCard[];
  /** The entropy devices. */
  entropy?: GuestEntropy[];
  /** Guest memory in MiB; 512 unless given. */
  memoryMebibytes?: number;
  /** QEMU waits at this path for a guest that is moved here, and boots none. */
  incomingPath?: string;
  /** Whether disks and cards are behind an IOMMU, which the guest drives. */
  iommu?: boolean;
  /** Processors that run; 2 unless given. */
  processorCount?: number;
  /** What QEMU runs behind, as `ip netns exec NAME`. */
  prefix?: readonly string[];
}

const BOOT_TIMEOUT_MS = 90_000;
/**
 * An emulated kernel hangs once in some hundred boots, a second after its start
 * and before it has loaded a driver of ours. Nothing of that is about us.
 */
const KERNEL_TIMEOUT_MS = 30_000;
const BOOTS_MAX = 3;
/** What agent.sh says before it loads drivers. */
const INIT_STARTED = "agent: started";
const COMMAND_TIMEOUT_MS = 30_000;
const SCRIPT_TIMEOUT_MS = 60_000;
const POWER_OFF_TIMEOUT_MS = 30_000;

function qemuArguments(
  options: GuestOptions,
  directory: string,
): string[] {
  const memory = `${options.memoryMebibytes ?? 512}M`;
  const args = [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", options.iommu ? "q35" : "pc"],
    ...["-accel", "tcg,thread=multi", "-cpu", "Nehalem"],
    // Four possible processors let the driver start four rings.
    ...["-smp", `${options.processorCount ?? 2},maxcpus=4`],
    ...["-m", `${memory},slots=2,maxmem=2G`],
    "-object",
    `memory-backend-memfd,id=mem,size=${memory},share=on`,
    ...["-numa", "node,memdev=mem"],
    ...["-kernel", options.boot.kernel, "-initrd", options.boot.initramfs],
    "-append",
    // On a busy host the kernel's check of its timer may see no tick, and panic.
    "console=ttyS0 panic=-1 loglevel=6 mitigations=off no_timer_check" +
    " random.trust_cpu=on" + (options.iommu ? " intel_iommu=on" : ""),
    ...["-serial", `file:${directory}/console.log`],
    ...["-device", "virtio-serial-pci,id=agent"],
    ...["-chardev", `socket,id=agent,path=${directory}/agent.sock`],
    ...["-device", "virtserialport,bus=agent.0,chardev=agent,name=ringside"],
  ];
  args.push(
    ...["-chardev", `socket,id=monitor,path=${directory}/monitor.sock`],
    ...["-mon", "chardev=monitor,mode=control"],
  );
  if (options.incomingPath !== undefined) {
    args.push("-incoming", `unix:${options.incomingPath}`);
  }
  if (options.iommu) {
    args.push("-device", "intel-iommu,caching-mode=on,device-iotlb=on");
  }
  options.disks?.forEach((disk, index) => {
    const port = behindPort(args, options, `disk${index}`);
    args.push(
      "-chardev",
      `socket,id=disk${index},path=${disk.socketPath}` +
        (disk.reconnectSeconds ? `,reconnect=${disk.reconnectSeconds}` : ""),
      "-device",
      `vhost-user-blk-pci,id=disk${index},chardev=disk${index},num-queues=${
        disk.queueCount ?? 4
      },queue-size=${disk.queueSize ?? 128}` +
        ringKind(disk.packed) + port,
    );
  });
  options.cards?.forEach((card, index) => {
    const port = behindPort(args, options, `card${index}`);
    const packed = ringKind(card.packed);
    args.push(...cardArguments(card, `card${index}`, packed + port));
  });
  options.entropy?.forEach(({ socketPath, packed }, index) => {
    args.push(
      ...["-chardev", `socket,id=rng${index},path=${socketPath}`],
      "-device",
      `vhost-user-rng-pci,id=rng${index},chardev=rng${index}` +
        ringKind(packed),
    );
  });
  return args;
}

/** What a device says to have packed rings. */
function ringKind(isPacked = false): string {
  return isPacked ? ",packed=on" : "";
}

/**
 * What a device says to be behind the IOMMU, and behind a port of its own: only
 * there it has what ATS takes, by which it hears of mappings that are gone.
 */
function behindPort(
  args: string[],
  { iommu }: GuestOptions,
  id: string,
): string {
  if (!iommu) return "";
  const number = args.filter((word) => word.startsWith("pcie-root")).length;
  args.push(
    ...["-device", `pcie-root-port,id=${id}-port,chassis=${number + 1}`],
  );
  return `,bus=${id}-port,iommu_platform=on,ats=on,disable-legacy=on`;
}

function cardArguments(
  card: GuestCard,
  id: string,
  packed: string,
): string[] {
  const pairCount = card.pairCount ?? 1;
  const properties = [
    "virtio-net-pci",
    `id=${id}`,
    `netdev=${id}-net`,
    `mac=${card.mac}`,
    `mq=${pairCount > 1 ? "on" : "off"}`,
    // QEMU 7.2 ends itself on a vhost-user card with MSI-X where there is no
    // KVM; 10 doesn't.
    ...(card.tapName === undefined ? ["vectors=0"] : []),
    // No boot ROM: the guest has its kernel.
    "romfile=",
    ...(card.mtu === undefined ? [] : [`host_mtu=${card.mtu}`]),
    ...(card.without ?? []).map((feature) => `${feature}=off`),
  ];
  const device = ["-device", properties.join(",") + packed];
  if (card.tapName !== undefined) {
    const netdev = `tap,id=${id}-net,ifname=${card.tapName},script=no,` +
      "downscript=no,vhost=off";
    return ["-netdev", netdev, ...device];
  }
  return [
    ...["-chardev", `socket,id=${id}-socket,path=${card.socketPath}`],
    "-netdev",
    `vhost-user,id=${id}-net,chardev=${id}-socket,queues=${pairCount}`,
    ...device,
  ];
}

/** The guest's kernel did not come as far as its first process. */
class StalledKernel extends Error {}

/** A running guest. Dispose it: that ends QEMU whatever its state. */
export class Guest implements AsyncDisposable {
  #process: Deno.ChildProcess;
  #ended: Promise<Deno.CommandStatus>;
  #stderr: Promise<string>;
  #directory: string;
  #agent: Deno.Conn | null = null;
  #monitor: Monitor | null = null;
  #received = new Uint8Array(0);

  private constructor(process: Deno.ChildProcess, directory: string) {
    this.#process = process;
    this.#ended = process.status;
    this.#stderr = new Response(process.stderr).text();
    this.#directory = directory;
  }

  /**
   * Starts QEMU and resolves once the guest can run scripts, or, with
   * `incomingPath`, once it waits for one.
   */
  static async boot(options: GuestOptions): Promise<Guest> {
    for (let tries = 1;; tries++) {
      try {
        return await Guest.#bootOnce(options);
      } catch (error) {
        if (!(error instanceof StalledKernel) || tries === BOOTS_MAX) {
          throw error;
        }
        console.error(`The guest is started again: ${error.message}`);
      }
    }
  }

  static async #bootOnce(options: GuestOptions): Promise<Guest> {
    const directory = await Deno.makeTempDir({ prefix: "ringside-guest-" });
    let guest: Guest | null = null;
    try {
      using monitor = Deno.listen({
        transport: "unix",
        path: `${directory}/monitor.sock`,
      });
      using agent = Deno.listen({
        transport: "unix",
        path: `${directory}/agent.sock`,
      });
      const [program, ...prefix] = [
        ...options.prefix ?? [],
        "qemu-system-x86_64",
      ];
      const process = new Deno.Command(program!, {
        args: [...prefix, ...qemuArguments(options, directory)],
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      }).spawn();
      guest = new Guest(process, directory);
      await guest.#connect(monitor, agent, options.incomingPath !== undefined);
      return guest;
    } catch (error) {
      if (guest) await guest[Symbol.asyncDispose]();
      else await Deno.remove(directory, { recursive: true });
      throw error;
    }
  }

  async #connect(
    monitor: Deno.Listener,
    agent: Deno.Listener,
    isIncoming: boolean,
  ): Promise<void> {
    // QEMU makes both connections before it starts the machine.
    const connect = async () => {
      this.#agent = await agent.accept();
      this.#monitor = await Monitor.open(await monitor.accept());
    };
    await this.#attempt("start QEMU", connect(), BOOT_TIMEOUT_MS);
    if (isIncoming) return;
    const booted = new AbortController();
    try {
      await Promise.race([
        this.run("true", { timeoutMs: BOOT_TIMEOUT_MS }),
        this.#stall(booted.signal),
      ]);
    } finally {
      booted.abort();
    }
  }

  /** Rejects when the kernel hangs before it has a driver for any device. */
  async #stall(booted: AbortSignal): Promise<never> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, KERNEL_TIMEOUT_MS);
      booted.addEventListener("abort", () => clearTimeout(timer));
    });
    if (!(await this.console()).includes(INIT_STARTED)) {
      throw new StalledKernel(
        `No ${INIT_STARTED} after ${KERNEL_TIMEOUT_MS} ms\n` +
          await this.#tail(),
      );
    }
    return await new Promise<never>(() => {});
  }

  /** The process id of QEMU. */
  get pid(): number {
    return this.#process.pid;
  }

  /** What the guest's kernel wrote to its serial console so far. */
  async console(): Promise<string> {
    const path = `${this.#directory}/console.log`;
    return await Deno.readTextFile(path).catch(() => "");
  }

  /**
   * Runs a shell script in the guest, one at a time. Rejects when it takes
   * longer than `timeoutMs` or the guest dies, with the console in the error.
   */
  async run(
    script: string,
    options: { timeoutMs?: number } = {},
  ): Promise<ScriptResult> {
    return await this.#attempt(
      `run "${script.trim().split("\n")[0]}" in the guest`,
      this.#exchange(script),
      options.timeoutMs ?? SCRIPT_TIMEOUT_MS,
    );
  }

  /** Like {@linkcode run}, but rejects unless the script succeeds; its stdout, trimmed. */
  async output(
    script: string,
    options: { timeoutMs?: number } = {},
  ): Promise<string> {
    const { status, stdout, stderr } = await this.run(script, options);
    if (status !== 0) {
      throw new Error(
        `The script ended with ${status} in the guest:\n${script}\n` +
          `stdout: ${stdout}\nstderr: ${stderr}\n${await this.#tail()}`,
      );
    }
    return stdout.trim();
  }

  /** Gives QEMU a command of its machine protocol and resolves with the answer. */
  async command(
    name: string,
    args: Record<string, unknown> = {},
  ): Promise<unknown> {
    return await this.#attempt(
      name,
      this.#monitor!.execute(name, args),
      COMMAND_TIMEOUT_MS,
    );
  }

  /** Powers the guest off as its user would and waits until QEMU has ended. */
  async powerOff(): Promise<void> {
    // The answer need not come: the machine may be gone before.
    this.#send("sync; poweroff -f").catch(() => {});
    const { code } = await this.#deadline(
      "power off",
      this.#ended,
      POWER_OFF_TIMEOUT_MS,
    );
    if (code !== 0) {
      throw new Error(`QEMU ended with ${code}: ${await this.#stderr}`);
    }
  }

  /** Ends QEMU at once, as a crash would. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }

  /** Ends QEMU if it still runs and removes its files. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#ended;
    await this.#stderr;
    this.#monitor?.[Symbol.dispose]();
    this.#monitor = null;
    this.#agent?.close();
    this.#agent = null;
    await Deno.remove(this.#directory, { recursive: true });
  }

  async #send(script: string): Promise<void> {
    const line = new TextEncoder().encode(script).toBase64() + "\n";
    const bytes = new TextEncoder().encode(line);
    for (let at = 0; at < bytes.length;) {
      at += await this.#agent!.write(bytes.subarray(at));
    }
  }

  async #exchange(script: string): Promise<ScriptResult> {
    await this.#send(script);
    let end = -1;
    while ((end = this.#received.indexOf(10)) < 0) await this.#receive();
    const line = new TextDecoder().decode(this.#take(end + 1));
    const [status, stdoutSize, stderrSize] = line.split(" ").map(Number);
    while (this.#received.length < stdoutSize! + stderrSize!) {
      await this.#receive();
    }
    const decoder = new TextDecoder();
    return {
      status: status!,
      stdout: decoder.decode(this.#take(stdoutSize!)),
      stderr: decoder.decode(this.#take(stderrSize!)),
    };
  }

  #take(size: number): Uint8Array {
    const taken = this.#received.subarray(0, size);
    this.#received = this.#received.subarray(size);
    return taken;
  }

  async #receive(): Promise<void> {
    const piece = new Uint8Array(65536);
    const size = await this.#agent!.read(piece);
    if (size === null) throw new Error("The guest closed its agent port");
    const joined = new Uint8Array(this.#received.length + size);
    joined.set(this.#received);
    joined.set(piece.subarray(0, size), this.#received.length);
    this.#received = joined;
  }

  /** Waits for `work`, unless QEMU ends or the time is over before. */
  async #attempt<T>(
    what: string,
    work: Promise<T>,
    timeoutMs: number,
  ): Promise<T> {
    const ended = this.#ended.then(({ code, signal }): never => {
      throw new Error(`QEMU ended with ${signal ?? code}`);
    });
    return await this.#deadline(what, Promise.race([work, ended]), timeoutMs);
  }

  async #deadline<T>(
    what: string,
    work: Promise<T>,
    timeoutMs: number,
  ): Promise<T> {
    try {
      return await withDeadline(work, timeoutMs);
    } catch (error) {
      throw new Error(
        `Can't ${what}: ${(error as Error).message}\n` +
          await this.#tail(),
        { cause: error },
      );
    }
  }

  /** The end of the console, for the text of an error. */
  async #tail(): Promise<string> {
    const lines = (await this.console()).trimEnd().split(/\r?\n/);
    return `The last lines of the console:\n${lines.slice(-40).join("\n")}`;
  }
}
