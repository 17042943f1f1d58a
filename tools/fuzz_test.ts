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

Deno.test("the help of fuzz is asked for, and no error", async () => {
  const [code, stdout, stderr] = await fuzz("--help");
  assertEquals([code, stdout.split(" ")[0], stderr], [0, "Usage:", ""]);
});
