import { assertEquals } from "@std/assert";

async function fuzz(...args: string[]): Promise<[number, string, string]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", "tools/fuzz.ts", ...args],
    cwd: new URL("..", import.meta.url),
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return [code, text.decode(stdout), text.decode(stderr)];
}

const WRONG: [string[], string][] = [
  [["rng", "--tim", "3"], "There is no option --tim"],
  [["nothing", "--time", "1"], 'There is no target "nothing"'],
  [[], "There is no target"],
];

for (const [args, message] of WRONG) {
  Deno.test(`fuzz ${args.join(" ")} is refused`, async () => {
    const told = `${message}: deno task fuzz --help lists all\n`;
    assertEquals(await fuzz(...args), [2, "", told]);
  });
}

Deno.test("a seed of more than 32 bits and a path of no numbers are refused", async () => {
  assertEquals(await fuzz("rng", "--seed", "4294967296"), [
    2,
    "",
    "--seed is 4294967296, wanted a whole number to 4294967295\n",
  ]);
  assertEquals(await fuzz("rng", "--seed", "1", "--path", "0:x"), [
    2,
    "",
    '--path is "0:x", wanted what a failure printed, as 12:0:3\n',
  ]);
});

Deno.test("the help of fuzz is asked for, and no error", async () => {
  const [code, stdout, stderr] = await fuzz("--help");
  assertEquals([code, stdout.split(" ")[0], stderr], [0, "Usage:", ""]);
});
