import { assertEquals } from "@std/assert";
import { log, loseLinesUnless } from "./log.ts";

/** What `act` makes console.error of this thread see, which then does `then`. */
function heard(act: () => void, then: () => void = () => {}): string[] {
  const lines: string[] = [];
  const { error } = console;
  console.error = (line: string) => {
    lines.push(line);
    then();
  };
  try {
    act();
  } finally {
    console.error = error;
  }
  return lines;
}

Deno.test("a message is one line, whatever it names", () => {
  const lines = heard(() => log.warn("No file a\nringside error: b\x1b[0m"));
  assertEquals(lines, [
    "ringside warn: No file a\\nringside error: b\\x1b[0m",
  ]);
});

Deno.test("a log that can't be written ends nothing", () => {
  const full = () => {
    throw new Error("No space left on device");
  };
  assertEquals(heard(() => log.error("x"), full), ["ringside error: x"]);
});

Deno.test("a log that nobody reads loses lines, counts them and goes on", () => {
  let room = false;
  loseLinesUnless(() => room);
  try {
    const lines = heard(() => {
      log.error("a");
      log.warn("b");
      log.debug("is not shown, so it is not lost");
      room = true;
      log.info("c");
      log.info("d");
    });
    assertEquals(lines, [
      "ringside warn: Lines were lost: 2\nringside info: c",
      "ringside info: d",
    ]);
  } finally {
    loseLinesUnless(() => true);
  }
});
