import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { withBackend } from "../../tests/support/answering_backend.ts";
import { ProtocolError, SystemError } from "../errors.ts";
import { Reactor } from "../io/reactor.ts";
import { UnixListener } from "../io/unix_socket.ts";
import { Channel } from "./channel.ts";
import { Frontend, NackError } from "./frontend.ts";
import { encodeConfig, encodeMessage, u64, vringState } from "./message.ts";
import { VHOST_USER, VHOST_USER_PROTOCOL_F } from "./protocol.ts";

const NOTHING = new Uint8Array(0);
const { GET_CONFIG, GET_FEATURES, GET_VRING_BASE, SET_OWNER } = VHOST_USER;

const CONFIG_4 = encodeConfig(0, 0, new Uint8Array(4));

const NONSENSE: [what: string, reply: Uint8Array<ArrayBuffer>][] = [
  ["the answer of another request", encodeMessage(1, 5, CONFIG_4)],
  ["an answer without the reply flag", encodeMessage(GET_CONFIG, 1, CONFIG_4)],
  ["an answer with an unknown flag", encodeMessage(GET_CONFIG, 0x15, CONFIG_4)],
  ["an answer of another version", encodeMessage(GET_CONFIG, 6, CONFIG_4)],
  [
    "an answer that is too short",
    encodeMessage(GET_CONFIG, 5, CONFIG_4.slice(1)),
  ],
  [
    "an answer that is too long",
    encodeMessage(GET_CONFIG, 5, new Uint8Array(17)),
  ],
];

for (const [what, reply] of NONSENSE) {
  Deno.test(`[C53] the front-end refuses ${what}`, async () => {
    await withBackend(
      (_message, channel) => channel.sendRaw(reply),
      async (frontend) => {
        await assertRejects(() => frontend.getConfig(0, 4), ProtocolError);
      },
    );
  });
}

Deno.test("[C53] the front-end takes an empty answer as a refusal", async () => {
  await withBackend(
    ({ request }, channel) => channel.send(request, 5, NOTHING),
    async (frontend) => {
      const error = await assertRejects(
        () => frontend.getConfig(0, 4),
        NackError,
      );
      assertEquals(error.request, GET_CONFIG);
    },
  );
});

Deno.test("the front-end bears with an echo of NEED_REPLY, as of libvhost-user", async () => {
  await withBackend(
    (_message, channel) =>
      channel.sendRaw(encodeMessage(GET_CONFIG, 0xd, CONFIG_4)),
    async (frontend) => {
      assertEquals((await frontend.getConfig(0, 4)).length, 4);
    },
  );
});

Deno.test("the front-end says when the back-end hung up instead", async () => {
  await withBackend(
    (_message, channel) => channel[Symbol.dispose](),
    async (frontend) => {
      const error = await assertRejects(
        () => frontend.getFeatures(),
        ProtocolError,
      );
      assertStringIncludes(error.message, "hung up instead of answering");
    },
  );
});

Deno.test("an acknowledgement that is not 0 is a NackError", async () => {
  await withBackend(
    async ({ request, flags }, channel) => {
      if ((flags & 8) === 0) return;
      await channel.send(request, 5, u64.encode({ value: 0x16n }));
    },
    async (frontend) => {
      await frontend.setProtocolFeatures(
        1n << BigInt(VHOST_USER_PROTOCOL_F.REPLY_ACK),
      );
      const error = await assertRejects(() => frontend.setOwner(), NackError);
      assertEquals([error.request, error.value], [SET_OWNER, 0x16n]);
      assertEquals(error.message, "SET_OWNER was refused with 0x16");
    },
  );
});

Deno.test("GET_VRING_BASE of another vring is a refusal", async () => {
  await withBackend(
    ({ request }, channel) =>
      channel.send(request, 5, vringState.encode({ index: 2, num: 9 })),
    async (frontend) => {
      assertEquals(await frontend.getVringBase(2), 9);
      const error = await assertRejects(
        () => frontend.getVringBase(1),
        NackError,
      );
      assertEquals(error.request, GET_VRING_BASE);
    },
  );
});

Deno.test("requests that are made at once get each its own answer", async () => {
  let n = 0n;
  await withBackend(
    ({ request }, channel) =>
      channel.send(request, 5, u64.encode({ value: n++ })),
    async (frontend) => {
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => frontend.getFeatures()),
      );
      assertEquals(answers, Array.from({ length: 10 }, (_, i) => BigInt(i)));
    },
  );
});

Deno.test("negotiate works with a back-end without protocol features", async () => {
  const requests: number[] = [];
  await withBackend(
    async ({ request }, channel) => {
      requests.push(request);
      if (request !== GET_FEATURES) return;
      await channel.send(request, 5, u64.encode({ value: 0x1_0000_0020n }));
    },
    async (frontend) => {
      assertEquals(await frontend.negotiate({ features: 1n << 32n }), {
        features: 1n << 32n,
        protocolFeatures: 0n,
        queueCount: 1,
      });
      // An answer to this says that all before was received.
      await frontend.getFeatures();
    },
  );
  assertEquals(requests, [1, 3, 2, 1]);
});

Deno.test("connect reaches a listening back-end, and says when there is none", async () => {
  const directory = Deno.makeTempDirSync();
  await using reactor = new Reactor();
  try {
    const path = `${directory}/socket`;
    const error = await assertRejects(
      // deno-lint-ignore require-await
      async () => Frontend.connect(path, reactor),
      SystemError,
    );
    assertEquals(error.code, "ENOENT");
    using listener = UnixListener.bind(path);
    using frontend = Frontend.connect(path, reactor);
    using channel = new Channel(listener.accept()!, reactor);
    await frontend.send(SET_OWNER);
    assertEquals((await channel.receive())!.request, SET_OWNER);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
