/**
 * Checks of an entropy device, virtio 1.3 §5.4.
 *
 * @module
 */
import type { Check } from "../check.ts";
import { expect } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";
import { cut, place, UNTOUCHED, untouched } from "../layout.ts";

const OPERATION = "virtio 1.3 §5.4.6";

/** Asks for bytes into buffers of `sizes`; what was written. */
async function ask(
  guest: Guest,
  sizes: readonly number[],
): Promise<Uint8Array> {
  const { memory, ring } = guest;
  const size = sizes.reduce((sum, one) => sum + one, 0);
  const at = place(memory, untouched(size));
  const written = await ring.send(cut(at, sizes, true));
  expect(
    written >= 1 && written <= size,
    `${written} bytes of ${size} were given, wanted one at least`,
  );
  const bytes = memory.read(at, size);
  const behind = bytes.subarray(written).findIndex((b) => b !== UNTOUCHED);
  expect(
    behind < 0,
    () => `Byte ${written + behind} was written, and ${written} were told`,
  );
  return bytes.subarray(0, written);
}

function rngCheck(
  id: string,
  title: string,
  run: (run: CheckRun) => Promise<void>,
  more: Partial<Check> = {},
): Check {
  const devices = ["rng"] as const;
  return {
    id,
    title,
    section: OPERATION,
    level: "MUST",
    devices,
    ...more,
    run,
  };
}

export const RNG_CHECKS: readonly Check[] = [
  rngCheck("rng/one-byte", "a buffer of one byte is filled", async (run) => {
    const guest = await run.guest();
    for (let i = 0; i < 16; i++) await ask(guest, [1]);
  }),
  rngCheck("rng/sizes", "buffers of many sizes get bytes", async (run) => {
    const guest = await run.guest();
    for (const size of [2, 3, 16, 64, 255, 4096, 65536]) {
      await ask(guest, [size]);
    }
  }),
  rngCheck("rng/several-buffers", "a request of four buffers", async (run) => {
    const guest = await run.guest();
    await ask(guest, [5, 16, 1, 64]);
  }),
  rngCheck("rng/differs", "no two requests get the same", async (run) => {
    const guest = await run.guest();
    const seen = new Set<string>();
    for (let i = 0; i < 100; i++) {
      let text = "";
      while (text.length < 32) {
        text += Array.from(await ask(guest, [16]), hex).join("");
      }
      expect(!seen.has(text), "Two requests got the same 16 bytes");
      seen.add(text);
    }
  }),
  rngCheck(
    "rng/spread",
    "each bit is set about half of the time",
    async (run) => {
      const guest = await run.guest();
      const bytes: number[] = [];
      while (bytes.length < 4096) bytes.push(...await ask(guest, [1024]));
      for (let bit = 0; bit < 8; bit++) {
        const set = bytes.filter((byte) => (byte >> bit & 1) === 1).length;
        const share = set / bytes.length;
        // Ten standard deviations of 4096 fair coins.
        expect(
          Math.abs(share - 0.5) < 0.08,
          `Bit ${bit} is set in ${(100 * share).toFixed(0)} % of the bytes`,
        );
      }
    },
    { level: "SHOULD" },
  ),
  rngCheck("rng/in-flight", "32 requests are in flight", async (run) => {
    const guest = await run.guest();
    const requests = Array.from({ length: 32 }, () => guest.workload.request());
    const sent = requests.map((request) => ({
      request,
      head: guest.ring.add(request.segments),
    }));
    guest.ring.publish();
    for (const { request, head } of sent) {
      request.check(await guest.ring.finish(head));
    }
  }),
  rngCheck(
    "rng/readable",
    "a buffer that may only be read does not stop the device",
    async (run) => {
      const guest = await run.guest();
      const address = place(guest.memory, untouched(16));
      guest.ring.add([{ address, size: 16, writable: false }]);
      guest.ring.publish("always");
      await run.quiet();
    },
    { hostile: true },
  ),
  rngCheck(
    "rng/readable-given-back",
    "a buffer that may only be read is given back, and the ring goes on",
    async (run) => {
      const guest = await run.guest();
      const address = place(guest.memory, untouched(16));
      await guest.ring.send([{ address, size: 16, writable: false }]);
      await guest.works();
    },
    { level: "SHOULD" },
  ),
];

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
