import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { SystemError, UsageError } from "../errors.ts";
import { run } from "./bench.ts";

interface Said {
  code: number;
  out: string;
}

async function bench(line: string): Promise<Said> {
  let out = "";
  const code = await run(line.split(" ").filter((word) => word !== ""), {
    print: (text) => void (out += `${text}\n`),
    complain: () => {},
  });
  return { code, out };
}

const S = "--socket-path /nowhere/s";

/** A command line, and what is said to it. */
const WRONG: readonly (readonly [line: string, message: string])[] = [
  ["", "There is no load: give one of block, net, rng, plot, or --help"],
  ["blok", 'There is no load "blok": the nearest is block, and ringside'],
  ["block", "--socket-path is missing: where the back-end listens"],
  [`block ${S} --dept 3`, "There is no option --dept of ringside bench block"],
  [`block ${S} extra`, '"extra" belongs to no option'],
  [`block ${S} --depth 0`, "--depth is 0: give it 1 to 4096"],
  [`block ${S} --mix write`, "--mix write writes on the disk, and what is"],
  [`block ${S} --mix read=1,read=2`, '--mix has "read=2", wanted read, write'],
  [`block ${S} --mix trim=1`, '--mix has "trim=1", wanted read, write and'],
  [`block ${S} --mix read=0`, "--mix has parts of 0 in all, wanted 1 to"],
  [`block ${S} --verify`, "--verify reads what was written before: give"],
  [`block ${S} --size 1000`, "--size is 1000, wanted a multiple of 512: the"],
  [`block ${S} --ring-size 12`, "--ring-size is 12, but split rings have a"],
  [`block ${S} --direction tx`, "There is no option --direction of ringside"],
  [`net ${S} --size 64,59`, '--size has "59", wanted bytes of a frame'],
  [`net ${S} --size 64,,70`, '--size has "", wanted bytes of a frame'],
  [`rng ${S} --queues 2`, "--queues is 2, but an entropy device has one"],
  [`rng ${S} --backend-pid 2147483647`, "There is no process 2147483647"],
  ["plot a.json", "--svg is missing: draw the picture into this file"],
  ["plot --svg x.svg", "There is no report: name files that ringside bench"],
];

Deno.test("a command line that is wrong is one line that says what to do", async () => {
  for (const [line, message] of WRONG) {
    const error = await assertRejects(() => bench(line), UsageError);
    assert(error.message.startsWith(message), `${line}: ${error.message}`);
    assertMatch(error.message, /^[^\n]+[^.\n]$/, line);
  }
});

Deno.test("the word may stand behind the options", async () => {
  for (const line of [`block ${S}`, `${S} block`, `--depth 3 block ${S}`]) {
    const error = await assertRejects(() => bench(line), SystemError);
    assertMatch(error.message, /^connect failed with ENOENT on \/nowhere\/s/);
  }
});

Deno.test("reports that can't be written are known before the run", async () => {
  for (const option of ["--json", "--svg"]) {
    const line = `block ${S} ${option} /nowhere/file`;
    const error = await assertRejects(() => bench(line), SystemError);
    assertMatch(error.message, /^open failed with ENOENT on \/nowhere\/file/);
  }
});

Deno.test("the help has every option", async () => {
  const top = await bench("--help");
  assertEquals(top.code, 0);
  for (const word of ["block", "net", "rng", "plot"]) {
    assertMatch(top.out, new RegExp(`^  ${word} `, "m"));
    const { code, out } = await bench(`${word} --help`);
    assertEquals(code, 0);
    assertMatch(out, new RegExp(`^Usage: ringside bench ${word} `));
    for (const row of out.split("\n")) assert(row.length <= 80, row);
  }
  assertMatch((await bench("block --help")).out, /--destructive/);
});
