/**
 * Capture files as Wireshark's tools read them.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

/** How many frames a capture has. */
export interface CapturedFrames {
  /** As `capinfos` counts them. */
  total: number;
  /** To the guest: inbound, as `tshark` reads their flags. */
  toGuest: number;
  /** From the guest: outbound. */
  fromGuest: number;
}

async function lines(program: string, args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, `${program}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout).trim().split("\n");
}

/** Opens the capture at `path` and counts its frames. */
export async function captured(path: string): Promise<CapturedFrames> {
  const table = await lines("capinfos", ["-T", "-m", "-Q", "-r", "-c", path]);
  const total = Number(table.at(-1)!.split(",").at(-1)!.replaceAll('"', ""));
  const directions = await lines("tshark", [
    // The frames are what counts, not what is in them.
    ...["-n", "--disable-protocol", "ip", "--disable-protocol", "ipv6"],
    ...["-r", path],
    ...["-T", "fields", "-e", "frame.packet_flags_direction"],
  ]);
  // 1 is inbound and 2 outbound, in the option's own words.
  const count = (direction: number) =>
    directions.filter((text) => Number(text) === direction).length;
  return { total, toGuest: count(1), fromGuest: count(2) };
}
