import { assertEquals, assertRejects } from "@std/assert";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import type { Frontend } from "../../src/vhost_user/frontend.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import {
  encodeConfig,
  encodeSharedMemoryConfig,
  inflightDescription,
  u64,
} from "../../src/vhost_user/message.ts";
import {
  protocolBits,
  requestName,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { withBackend } from "../support/answering_backend.ts";
import { openDescriptors } from "../support/descriptors.ts";

const F = VHOST_USER_PROTOCOL_F;
const NUMBER = u64.encode({ value: 0n });
const NOTHING = new Uint8Array(0);
const UUID = Uint8Array.from({ length: 16 }, (_, i) => i);
const REGION = {
  guestAddress: 0x1000,
  size: 0x2000,
  userAddress: 0x3000,
  mmapOffset: 0x4000,
};
const MAPPING = { iova: 1, size: 2, userAddress: 3, permissions: 3 };
const INFLIGHT = {
  mmapSize: 4096,
  mmapOffset: 0,
  queueCount: 2,
  queueSize: 128,
};

interface Case {
  /** How it is made; gives what is asserted to be `result`. */
  make(frontend: Frontend, fd: Fd): Promise<unknown>;
  /** The payload, hexadecimal words of 32 bits in host order; "" for none. */
  payload: string;
  /** Descriptors that come along. */
  fds?: number;
  /** The payload of its own reply. */
  reply?: Uint8Array;
  /** Whether a descriptor comes with the reply. */
  replyFd?: boolean;
  /** What the method resolves with. */
  result?: unknown;
}

/** What each request looks like on the wire. */
const CASES: Record<keyof typeof VHOST_USER, Case> = {
  GET_FEATURES: {
    make: (f) => f.getFeatures(),
    payload: "",
    reply: u64.encode({ value: 0x1_4000_0000n }),
    result: 0x1_4000_0000n,
  },
  SET_FEATURES: { make: (f) => f.setFeatures(5n << 32n), payload: "0 5" },
  SET_OWNER: { make: (f) => f.setOwner(), payload: "" },
  RESET_OWNER: { make: (f) => f.resetOwner(), payload: "" },
  SET_MEM_TABLE: {
    make: (f, fd) => f.shareMemory([{ ...REGION, fd }]),
    payload: "1 0 1000 0 2000 0 3000 0 4000 0",
    fds: 1,
  },
  SET_LOG_BASE: {
    make: (f, fd) => f.migration.setLogBase({ fd, size: 64, offset: 8 }),
    payload: "40 0 8 0",
    fds: 1,
    reply: NUMBER,
  },
  SET_LOG_FD: {
    make: (f, fd) => f.migration.setLogFd(fd),
    payload: "",
    fds: 1,
  },
  SET_VRING_NUM: { make: (f) => f.setVringNum(1, 256), payload: "1 100" },
  SET_VRING_ADDR: {
    make: (f) =>
      f.setVringAddr({
        index: 1,
        flags: 1,
        descriptor: 2,
        used: 3,
        available: 4,
        log: 5,
      }),
    payload: "1 1 2 0 3 0 4 0 5 0",
  },
  SET_VRING_BASE: { make: (f) => f.setVringBase(1, 7), payload: "1 7" },
  GET_VRING_BASE: {
    make: (f) => f.getVringBase(1),
    payload: "1 0",
    reply: words("1 7"),
    result: 7,
  },
  SET_VRING_KICK: {
    make: (f, fd) => f.setVringKick(1, fd),
    payload: "1 0",
    fds: 1,
  },
  SET_VRING_CALL: {
    make: (f) => f.setVringCall(1, null),
    payload: "101 0",
  },
  SET_VRING_ERR: {
    make: (f, fd) => f.setVringErr(1, fd),
    payload: "1 0",
    fds: 1,
  },
  GET_PROTOCOL_FEATURES: {
    make: (f) => f.getProtocolFeatures(),
    payload: "",
    reply: u64.encode({ value: 9n }),
    result: 9n,
  },
  SET_PROTOCOL_FEATURES: {
    make: (f) => f.setProtocolFeatures(9n),
    payload: "9 0",
  },
  GET_QUEUE_NUM: {
    make: (f) => f.getQueueNum(),
    payload: "",
    reply: words("4 0"),
    result: 4,
  },
  SET_VRING_ENABLE: {
    make: (f) => f.setVringEnable(1, true),
    payload: "1 1",
  },
  SEND_RARP: {
    make: (f) => f.network.sendRarp(UUID.subarray(0, 6)),
    payload: "3020100 504",
  },
  NET_SET_MTU: { make: (f) => f.network.setMtu(1500), payload: "5dc 0" },
  SET_BACKEND_REQ_FD: {
    make: (f) => f.listenToBackend({}),
    payload: "",
    fds: 1,
  },
  IOTLB_MSG: {
    make: (f) => f.iotlb.update(MAPPING),
    payload: "1 0 2 0 3 0 203 0",
  },
  SET_VRING_ENDIAN: {
    make: (f) => f.setVringEndian(1, "big"),
    payload: "1 1",
  },
  GET_CONFIG: {
    make: (f) => f.getConfig(4, 2),
    payload: hex(encodeConfig(4, 0, new Uint8Array(2))),
    reply: encodeConfig(4, 0, Uint8Array.of(7, 8)),
    result: Uint8Array.of(7, 8),
  },
  SET_CONFIG: {
    make: (f) => f.setConfig(4, Uint8Array.of(1, 2, 3, 4), 1),
    payload: "4 4 1 4030201",
  },
  CREATE_CRYPTO_SESSION: {
    make: (f) => f.crypto.createSession(words("1 2 3")),
    payload: "1 2 3",
    reply: words("4 5"),
    result: words("4 5"),
  },
  CLOSE_CRYPTO_SESSION: {
    make: (f) => f.crypto.closeSession(-2n),
    payload: "fffffffe ffffffff",
  },
  POSTCOPY_ADVISE: {
    make: (f) => f.postcopy.advise().then((fd) => fd[Symbol.dispose]()),
    payload: "",
    reply: NOTHING,
    replyFd: true,
  },
  POSTCOPY_LISTEN: { make: (f) => f.postcopy.listen(), payload: "" },
  POSTCOPY_END: {
    make: (f) => f.postcopy.end(),
    payload: "",
    reply: NUMBER,
  },
  GET_INFLIGHT_FD: {
    async make(f) {
      using buffer = await f.inflight.getFd(2, 128);
      return buffer?.description;
    },
    payload: "0 0 0 0 800002 0",
    reply: inflightDescription.encode(INFLIGHT),
    replyFd: true,
    result: INFLIGHT,
  },
  SET_INFLIGHT_FD: {
    make: (f, fd) =>
      f.inflight.setFd({
        description: INFLIGHT,
        fd,
        [Symbol.dispose]: () => {},
      }),
    payload: "1000 0 0 0 800002 0",
    fds: 1,
  },
  GPU_SET_SOCKET: {
    make: (f, fd) => f.sharing.setGpuSocket(fd),
    payload: "",
    fds: 1,
  },
  RESET_DEVICE: { make: (f) => f.resetDevice(), payload: "" },
  VRING_KICK: { make: (f) => f.vringKick(3), payload: "3 0" },
  GET_MAX_MEM_SLOTS: {
    make: (f) => f.getMaxMemSlots(),
    payload: "",
    reply: words("1fd 0"),
    result: 509,
  },
  ADD_MEM_REG: {
    make: (f, fd) => f.addMemReg({ ...REGION, fd }),
    payload: "0 0 1000 0 2000 0 3000 0 4000 0",
    fds: 1,
  },
  REM_MEM_REG: {
    make: (f) => f.removeMemReg(REGION),
    payload: "0 0 1000 0 2000 0 3000 0 4000 0",
  },
  SET_STATUS: { make: (f) => f.setStatus(15), payload: "f 0" },
  GET_STATUS: {
    make: (f) => f.getStatus(),
    payload: "",
    reply: words("f 0"),
    result: 15,
  },
  GET_SHARED_OBJECT: {
    make: (f) => f.sharing.getObject(UUID),
    payload: "3020100 7060504 b0a0908 f0e0d0c",
    reply: NOTHING,
    result: null,
  },
  SET_DEVICE_STATE_FD: {
    make: (f, fd) => f.migration.setDeviceStateFd("load", fd),
    payload: "1 0",
    fds: 1,
    reply: words("100 0"),
    result: null,
  },
  CHECK_DEVICE_STATE: {
    make: (f) => f.migration.checkDeviceState(),
    payload: "",
    reply: NUMBER,
  },
  GET_SHMEM_CONFIG: {
    async make(f) {
      return (await f.sharing.getMemorySizes()).slice(0, 3);
    },
    payload: "",
    reply: encodeSharedMemoryConfig([0x1000, 0, 0x4000]),
    result: [0x1000, 0, 0x4000],
  },
  GET_VRING_BASE_SKIP_DRAIN: {
    make: (f) => f.getVringBaseSkipDrain(1),
    payload: "1 0",
    reply: words("1 9"),
    result: 9,
  },
};

for (const [name, each] of Object.entries(CASES)) {
  const request = VHOST_USER[name as keyof typeof VHOST_USER];
  Deno.test(`the front-end sends ${name} as it is specified`, async () => {
    const before = openDescriptors();
    {
      const seen: [string, string, number, number][] = [];
      using memory = createMemfd("test", 4096);
      await withBackend(
        async ({ request, flags, payload, fds }, channel) => {
          if (request !== VHOST_USER.SET_PROTOCOL_FEATURES || flags === 9) {
            const came = hex(payload);
            seen.push([requestName(request), came, fds.length, flags]);
          } else return;
          const reply = each.reply ?? NUMBER;
          const along = each.replyFd ? [memory] : [];
          await channel.send(request, 5, reply, along);
        },
        async (frontend) => {
          await frontend.setProtocolFeatures(
            protocolBits([F.REPLY_ACK, F.LOG_SHMFD]),
          );
          assertEquals(await each.make(frontend, memory), each.result);
        },
      );
      assertEquals(seen, [[
        requestName(request),
        each.payload,
        each.fds ?? 0,
        9,
      ]]);
    }
    assertEquals(openDescriptors(), before, "descriptors are left");
  });
}

const REFUSALS: [name: string, reply: Uint8Array, make: Case["make"]][] = [
  ["SET_LOG_BASE", words("1 0"), CASES.SET_LOG_BASE.make],
  ["POSTCOPY_ADVISE", words("1 0"), CASES.POSTCOPY_ADVISE.make],
  ["POSTCOPY_END", words("1 0"), CASES.POSTCOPY_END.make],
  ["GET_INFLIGHT_FD", words("ffffffff ffffffff"), CASES.GET_INFLIGHT_FD.make],
  [
    "GET_INFLIGHT_FD without a descriptor",
    inflightDescription.encode(INFLIGHT),
    CASES.GET_INFLIGHT_FD.make,
  ],
  ["SET_DEVICE_STATE_FD", words("1 0"), CASES.SET_DEVICE_STATE_FD.make],
  [
    "SET_DEVICE_STATE_FD without a descriptor",
    words("0 0"),
    CASES.SET_DEVICE_STATE_FD.make,
  ],
  ["CHECK_DEVICE_STATE", words("1 0"), CASES.CHECK_DEVICE_STATE.make],
  ["GET_SHMEM_CONFIG", words("1 0"), CASES.GET_SHMEM_CONFIG.make],
  ["IOTLB_MSG", words("1 0"), CASES.IOTLB_MSG.make],
];

for (const [name, reply, make] of REFUSALS) {
  Deno.test(`the refusal of ${name} is a NackError`, async () => {
    using memory = createMemfd("test", 4096);
    await withBackend(
      ({ request, flags }, channel) =>
        flags === 9 ? channel.send(request, 5, reply) : undefined,
      async (frontend) => {
        await frontend.setProtocolFeatures(
          protocolBits([F.REPLY_ACK, F.LOG_SHMFD]),
        );
        await assertRejects(() => make(frontend, memory), NackError);
      },
    );
  });
}

Deno.test("what a reply brings along belongs to the caller", async () => {
  const before = openDescriptors();
  {
    using memory = createMemfd("test", 4096);
    const [one, other] = UnixSocket.pair();
    await withBackend(
      ({ request }, channel) => {
        const reply = request === VHOST_USER.SET_DEVICE_STATE_FD
          ? NUMBER
          : NOTHING;
        return channel.send(request, 5, reply, [one.fd, memory]);
      },
      async (frontend) => {
        using state = await frontend.migration.setDeviceStateFd("save", memory);
        using object = await frontend.sharing.getObject(UUID);
        for (const fd of [state!, object!]) {
          const link = (of: Fd) =>
            Deno.readLinkSync(`/proc/self/fd/${of.number}`);
          assertEquals(link(fd), link(one.fd));
        }
      },
    );
    one[Symbol.dispose]();
    other[Symbol.dispose]();
  }
  assertEquals(openDescriptors(), before, "descriptors are left");
});

Deno.test("the answers to SET_LOG_BASE of other programs are no refusals", async () => {
  for (const reply of [NOTHING, words("40 0"), NUMBER]) {
    await withBackend(
      ({ request }, channel) =>
        request === VHOST_USER.SET_LOG_BASE
          ? channel.send(request, 5, reply)
          : undefined,
      async (frontend) => {
        using fd = createMemfd("test", 64);
        await frontend.setProtocolFeatures(protocolBits([F.LOG_SHMFD]));
        await frontend.migration.setLogBase({ fd, size: 64 });
      },
    );
  }
});

Deno.test("postcopy answers SET_MEM_TABLE with the back-end's addresses", async () => {
  const requests: [number, number][] = [];
  await withBackend(
    async ({ request, payload }, channel) => {
      requests.push([request, payload.length]);
      if (payload.length > 0) {
        const answer = payload.slice();
        new DataView(answer.buffer).setUint32(24, 0x7000, true);
        await channel.send(request, 5, answer);
      } else if (request === VHOST_USER.GET_FEATURES) {
        await channel.send(request, 5, NUMBER);
      }
    },
    async (frontend) => {
      using fd = createMemfd("test", 4096);
      const there = await frontend.postcopy.setMemTable([{ ...REGION, fd }]);
      assertEquals(there, [{ ...REGION, userAddress: 0x7000 }]);
      await frontend.postcopy.memoryIsReady();
      await frontend.getFeatures();
    },
  );
  assertEquals(requests, [[5, 40], [5, 0], [1, 0]]);
});

function words(text: string): Uint8Array {
  const numbers = text === ""
    ? []
    : text.split(" ").map((word) => parseInt(word, 16));
  return new Uint8Array(Uint32Array.from(numbers).buffer);
}

function hex(bytes: Uint8Array): string {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return Array.from(
    new Uint32Array(padded.buffer),
    (word) => word.toString(16),
  ).join(" ");
}
