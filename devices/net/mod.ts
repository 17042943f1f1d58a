/**
 * The network device, virtio 1.3 §5.1: Ethernet frames between a guest and a
 * TAP interface, the other guests of the process, or itself.
 *
 * What the specification leaves open, and what we do:
 *
 * - **Offloads** are offered as far as the host's side can do them, and what
 *   the host may hand over follows from what the driver accepted.
 * - **A frame that is too large** for the buffers of a driver is dropped and
 *   counted. With MRG_RXBUF it waits for buffers, where the driver ever offered
 *   enough of them.
 * - **A frame that can't be sent** (no header, header fields that lie, shorter
 *   than an Ethernet header, longer than 65535 bytes of payload) is dropped and
 *   counted; the chain comes back as any other.
 * - **A disabled pair** swallows what the driver sends, and receives nothing.
 * - **Where the guest moves**, its new card has the address and the MTU of the
 *   old one, whatever it was started with.
 * - **The control queue** is not offered: QEMU keeps it to itself, and tells of
 *   queue pairs by enabling rings.
 *
 * @module
 */
import type {
  DataModule,
  Device,
  DeviceControl,
  DeviceDescriptor,
} from "../../src/device/device.ts";
import type { OptionSpecs, OptionValues } from "../../src/device/options.ts";
import { UsageError } from "../../src/errors.ts";
import { AppendFile } from "../../src/io/append_file.ts";
import { about, log } from "../../src/log.ts";
import type { Host } from "./backend.ts";
import { LoopbackHost } from "./backend_loopback.ts";
import { SwitchHost } from "./backend_switch.ts";
import { openTap, TapHost } from "./backend_tap.ts";
import { NetConfig } from "./config.ts";
import {
  Counters,
  RX_DROPPED,
  RX_FRAMES,
  TX_DROPPED,
  TX_FRAMES,
} from "./counters.ts";
import { macOf, randomMac, rarpFrame } from "./ethernet.ts";
import { modesOf } from "./modes.ts";
import { fileHeader, statistics } from "./pcapng.ts";
import {
  FEATURE_NAMES,
  MTU_MAX,
  MTU_MIN,
  VIRTIO_ID_NET,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_STATUS,
} from "./protocol.ts";
import { type NetSeed, type NetState, open } from "./queue.ts";
import { decodeNetState, encodeNetState } from "./state.ts";

const OPTIONS = {
  "backend": {
    type: "choice",
    choices: ["tap", "switch", "loopback"],
    default: "tap",
    describe: "The host's side: a TAP interface, a switch that joins the net " +
      "devices of this process, or a mirror",
  },
  "ifname": {
    type: "string",
    placeholder: "NAME",
    describe: "The TAP interface, which is made where it is not there",
  },
  "tap-fd": {
    type: "string",
    placeholder: "FD[,FD]",
    describe: "Instead of --ifname: inherited descriptors of its queues, one " +
      "for each queue pair",
  },
  "segment": {
    type: "string",
    placeholder: "NAME",
    default: "default",
    describe: "With --backend switch: devices of the same segment are joined",
  },
  "mac": {
    type: "string",
    placeholder: "XX:XX:XX:XX:XX:XX",
    describe: "The guest's MAC address; else a random one",
  },
  "mtu": {
    type: "number",
    placeholder: "BYTES",
    min: MTU_MIN,
    max: MTU_MAX,
    describe: "What the guest is told; else the interface's, or 1500",
  },
  "queue-pairs": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 128,
    default: 1,
    describe: "The most queue pairs that the front-end may use",
  },
  "queue-size": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 32768,
    powerOfTwo: true,
    default: 1024,
    describe: "The largest virtqueue that is accepted",
  },
  "pcap": {
    type: "string",
    placeholder: "FILE",
    describe: "Write all frames to this file, as pcapng",
  },
  "pcap-snaplen": {
    type: "size",
    placeholder: "SIZE",
    min: 1,
    max: 262144,
    default: 262144,
    describe: "How much of each frame --pcap writes",
  },
} as const satisfies OptionSpecs;

type NetOptions = OptionValues<typeof OPTIONS>;

/** The network device, as the command line finds it. */
export const net: DeviceDescriptor<typeof OPTIONS> = {
  name: "net",
  type: "net",
  virtioId: VIRTIO_ID_NET,
  summary: "An Ethernet card on a TAP interface, a switch or a loopback",
  options: OPTIONS,
  capabilities: [],
  open: openDevice,
};

/** An open card. */
class NetDevice implements Device {
  readonly features: bigint;
  readonly featureNames = FEATURE_NAMES;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly config: NetConfig;
  readonly data: DataModule = { open, url: import.meta.resolve("./queue.ts") };
  readonly seed: NetSeed;
  readonly ringsTogether = 2;
  readonly #host: Host;
  readonly #counters: Counters;
  readonly #capture: AppendFile | null;
  #control: DeviceControl | null = null;
  /** What the driver accepted, or null before it did. */
  #features: bigint | null = null;

  /** Takes `host` over. */
  constructor(options: NetOptions, mac: Uint8Array, host: Host) {
    const pairCount = options["queue-pairs"];
    this.#host = host;
    try {
      const mtu = options.mtu ?? this.#host.mtu;
      this.config = new NetConfig(mac, pairCount, mtu);
      this.#capture = openCapture(options, mac);
    } catch (error) {
      void this.#host.close();
      throw error;
    }
    this.#counters = new Counters(pairCount);
    this.queueCount = 2 * pairCount;
    this.queueSizeMax = options["queue-size"];
    this.features = this.#host.features | VIRTIO_NET_F_MAC |
      VIRTIO_NET_F_MTU | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF |
      (pairCount > 1 ? VIRTIO_NET_F_MQ : 0n);
    this.seed = {
      host: this.#host.seed,
      pairCount,
      counters: this.#counters.shared,
      capture: this.#capture && {
        fd: this.#capture.fd.number,
        path: this.#capture.path,
        snapLength: options["pcap-snaplen"],
      },
    };
  }

  attach(control: DeviceControl): void {
    this.#control = control;
    this.#host.attach?.({
      update: (message) => this.#update({ message }),
      setLink: (up) => {
        this.config.linkUp = up;
        control.configChanged();
      },
    });
  }

  async negotiated(features: bigint): Promise<void> {
    this.#features = features;
    await this.#applyModes();
    // Only now may the host hand over what the driver takes.
    this.#host.negotiated?.(features);
  }

  reset(): Promise<void> {
    this.#features = null;
    this.#host.reset?.();
    return Promise.resolve();
  }

  async setMtu(mtu: number): Promise<void> {
    this.config.mtu = mtu;
    await this.#applyModes();
  }

  saveState(): Promise<Uint8Array> {
    return Promise.resolve(encodeNetState(this.config));
  }

  async loadState(state: Uint8Array): Promise<void> {
    const { mac, mtu } = decodeNetState(state, this.config);
    this.config.mac = mac;
    await this.setMtu(mtu);
  }

  announce(mac: Uint8Array): Promise<void> {
    this.#host.inject(rarpFrame(mac));
    return Promise.resolve();
  }

  async close(): Promise<void> {
    const lost = this.#host.dropped?.() ?? 0;
    this.#report(lost);
    await this.#host.close();
    const capture = this.#capture;
    if (capture === null) return;
    try {
      capture.appendBytes(this.#statistics(lost));
    } finally {
      capture[Symbol.dispose]();
    }
  }

  /** Brings the data side into the modes that follow from what is known. */
  async #applyModes(): Promise<void> {
    if (this.#features === null) return;
    await this.#update({ modes: modesOf(this.#features, this.config.mtu) });
  }

  async #update(state: NetState): Promise<void> {
    await this.#control?.update(state);
  }

  #report(lost: number): void {
    const total = (counter: number) => this.#counters.total(counter);
    const who = about(this.#control?.name ?? "");
    log.info(
      `${who}the guest received ${total(RX_FRAMES)} frames and sent ` +
        `${total(TX_FRAMES)}; dropped were ${total(RX_DROPPED) + lost} to it ` +
        `and ${total(TX_DROPPED)} from it`,
    );
  }

  #statistics(lost: number): Uint8Array<ArrayBuffer> {
    const total = (counter: number) => this.#counters.total(counter);
    const dropped = total(RX_DROPPED) + total(TX_DROPPED) + lost;
    const seen = total(RX_FRAMES) + total(TX_FRAMES) + dropped;
    return statistics(seen, dropped, Math.floor(Date.now() * 1000));
  }
}

async function openDevice(options: NetOptions): Promise<NetDevice> {
  const mac = options.mac === undefined ? randomMac() : macOf(options.mac);
  return new NetDevice(options, mac, await openHost(options));
}

async function openHost(options: NetOptions): Promise<Host> {
  const pairCount = options["queue-pairs"];
  const { ifname, "tap-fd": fds } = options;
  if (options.backend === "tap") {
    return new TapHost(await openTap(ifname, fds, pairCount));
  }
  if (ifname !== undefined || fds !== undefined) {
    throw new UsageError(
      `--ifname and --tap-fd are for --backend tap, not for ` +
        `${options.backend}: leave them out`,
    );
  }
  return options.backend === "switch"
    ? new SwitchHost(options.segment, pairCount)
    : new LoopbackHost();
}

function openCapture(options: NetOptions, mac: Uint8Array): AppendFile | null {
  if (options.pcap === undefined) return null;
  const file = AppendFile.create(options.pcap);
  try {
    const name = options.ifname ?? options.backend;
    const { "pcap-snaplen": snapLength } = options;
    file.appendBytes(fileHeader("ringside", name, mac, snapLength));
    return file;
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}
