/**
 * A session from its first message to its last, and whether it went as it is
 * foretold. All messages are in the socket before the session begins: so it
 * never waits, and neither does the fuzzer.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Reactor } from "../../../src/io/reactor.ts";
import { UnixSocket } from "../../../src/io/unix_socket.ts";
import type { Backend } from "../../../src/vhost_user/backend.ts";
import { encodeMessage, header, u64 } from "../../../src/vhost_user/message.ts";
import {
  HEADER_SIZE,
  requestName,
  VHOST_USER,
} from "../../../src/vhost_user/protocol.ts";
import { Session, type SessionEnd } from "../../../src/vhost_user/session.ts";
import type { Tally } from "../target.ts";
import type { Outgoing, Supply } from "./outgoing.ts";
import { isRefusal, repliesItself } from "./requests.ts";
import type { SessionModel } from "./session_model.ts";

/** Of no request. */
const SENTINEL_REQUEST = 0x5e471e1;
/** Ends every session that lives: no header has version 0. */
const SENTINEL = header.encode({
  request: SENTINEL_REQUEST,
  flags: 0,
  size: 0,
});
const SENTINEL_REASON = `Message ${SENTINEL_REQUEST} is of protocol version 0`;
const REPLY_FLAGS = 5;

/** What is received at once: all the answers to a session, mostly. */
const received = new Uint8Array(1 << 16);

/** One answer. */
interface Reply {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** What came back, and how the session ended. */
export interface Outcome {
  readonly replies: readonly Reply[];
  readonly end: SessionEnd;
}

/** Sends `messages` to a session of `backend` of their own. */
export async function converse(
  messages: readonly Outgoing[],
  backend: Backend,
  reactor: Reactor,
  supply: Supply,
): Promise<Outcome> {
  const [ours, theirs] = UnixSocket.pair();
  using _theirs = theirs;
  const session = new Session(ours, backend, reactor);
  for (const message of messages) post(theirs, message, supply);
  theirs.send(SENTINEL);
  const end = await refusing(session);
  return { replies: repliesOf(theirs), end };
}

/**
 * The same, but the last message is cut short, and the front-end is gone before
 * it is answered.
 */
export async function cutShort(
  messages: readonly Outgoing[],
  backend: Backend,
  reactor: Reactor,
  supply: Supply,
): Promise<SessionEnd> {
  const [ours, theirs] = UnixSocket.pair();
  const session = new Session(ours, backend, reactor);
  const last = messages.at(-1);
  for (const message of messages.slice(0, -1)) post(theirs, message, supply);
  if (last !== undefined) {
    const bytes = encodeMessage(last.request, last.flags, last.payload);
    theirs.send(bytes.slice(0, -1), supply.lend(last.fds));
  }
  theirs[Symbol.dispose]();
  return await refusing(session);
}

/** Runs `session`, whose many refusals are errors that nobody traces. */
async function refusing(session: Session): Promise<SessionEnd> {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return await session.run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/**
 * Fails unless `outcome` is what `model` foretells of `messages`; `willing`:
 * the back-end itself never fails. True where the
 * model knows for certain how far the session came.
 */
export function compare(
  messages: readonly Outgoing[],
  outcome: Outcome,
  model: SessionModel,
  willing: boolean,
  tally: Tally,
): boolean {
  const replies = [...outcome.replies];
  const { kind, reason } = outcome.end;
  const lived = reason.startsWith(SENTINEL_REASON);
  assertEquals(kind, "protocol", reason);
  let mayHaveEnded = false;
  for (const message of messages) {
    const own = repliesItself(message.request);
    const foretold = model.verdict(message);
    const verdict = foretold === "accepted" && !willing && !own
      ? "either"
      : foretold;
    if (verdict === "fatal") {
      assert(!lived, `The session goes on after ${named(message)}`);
      assertEquals(replies, [], "replies to what was not read");
      return !mayHaveEnded;
    }
    const asked = model.mustAck(message);
    const answered = asked || own;
    if (answered && replies.length === 0) {
      // Nobody is told of a refusal who did not ask.
      assert(
        !lived && (mayHaveEnded || !asked),
        `${named(message)}: no answer`,
      );
      if (!mayHaveEnded) assert(verdict !== "accepted", named(message));
      return !mayHaveEnded;
    }
    // The one that may fail without a word, as it is the driver's affair.
    const lenient = message.request === VHOST_USER.SET_CONFIG;
    if (!answered && lenient && verdict === "refused") continue;
    if (!answered) {
      const known = lived || replies.length > 0;
      mayHaveEnded ||= !known && verdict !== "accepted";
      if (known) assert(verdict !== "refused", `${named(message)} is taken`);
      // What acknowledges itself was accepted: REPLY_ACK is on from here.
      if (known || verdict === "accepted") model.took(message);
      if (acknowledgesItself(message, model, replies)) replies.shift();
      continue;
    }
    const reply = replies.shift()!;
    assertEquals(reply.request, message.request, named(message));
    assertEquals(reply.flags, REPLY_FLAGS, named(message));
    judge(message, verdict, reply, model);
    tally.add("answers");
  }
  assertEquals(replies, [], "more replies than messages");
  assert(lived || mayHaveEnded, `The session ended: ${reason}`);
  return lived;
}

/** The reply to SET_PROTOCOL_FEATURES that brought REPLY_ACK. */
function acknowledgesItself(
  message: Outgoing,
  model: SessionModel,
  replies: readonly Reply[],
): boolean {
  if (!model.mustAck(message) || replies.length === 0) return false;
  assertEquals(replies[0]!.request, message.request, named(message));
  assertEquals(replies[0]!.payload, u64.encode({ value: 0n }), named(message));
  return true;
}

/** Whether `reply` is the right one. */
function judge(
  message: Outgoing,
  verdict: string,
  reply: Reply,
  model: SessionModel,
): void {
  const own = repliesItself(message.request);
  const payload = reply.payload;
  const refused = isRefusal(message.request, payload);
  const name = named(message);
  if (verdict === "refused") assert(refused, `${name} is accepted`);
  if (verdict === "accepted") assert(!refused, `${name} is refused`);
  if (refused) return model.refused(message);
  if (own) {
    const wanted = model.replyTo(message);
    if (wanted !== null) assertEquals(payload, wanted, name);
  } else assertEquals(payload, u64.encode({ value: 0n }), name);
  model.took(message);
}

function post(socket: UnixSocket, message: Outgoing, supply: Supply): void {
  const { request, flags, payload, claimed, apart } = message;
  const bytes = encodeMessage(request, flags, payload);
  if (claimed !== undefined) {
    bytes.set(header.encode({ request, flags, size: claimed }));
  }
  const fds = supply.lend(message.fds);
  if (apart && payload.length > 0) {
    socket.send(bytes.slice(0, HEADER_SIZE), fds);
    assertEquals(socket.send(bytes.slice(HEADER_SIZE)), payload.length);
  } else assertEquals(socket.send(bytes, fds), bytes.length);
}

/** Everything that is in the socket; its descriptors are closed. */
function repliesOf(socket: UnixSocket): Reply[] {
  let bytes = new Uint8Array(0);
  for (;;) {
    const { size, fds } = socket.receive(received);
    for (const fd of fds) fd.close();
    if (size <= 0) break;
    const longer = new Uint8Array(bytes.length + size);
    longer.set(bytes);
    longer.set(received.subarray(0, size), bytes.length);
    bytes = longer;
  }
  const replies: Reply[] = [];
  for (let at = 0; at < bytes.length;) {
    const { request, flags, size } = header.decode(bytes.subarray(at));
    at += HEADER_SIZE;
    assert(at + size <= bytes.length, "a reply is whole");
    replies.push({ request, flags, payload: bytes.slice(at, at + size) });
    at += size;
  }
  return replies;
}

function named({ request }: Outgoing): string {
  return requestName(request);
}
