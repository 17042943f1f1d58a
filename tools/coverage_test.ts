import { assertEquals } from "@std/assert";
import { coverageOf, percent } from "./coverage/lcov.ts";
import { removeTorn } from "./coverage/torn.ts";

const LCOV = `SF:/house/src/a.ts
FN:1,a
BRDA:2,1,0,1
BRDA:2,1,1,-
BRDA:3,2,0,0
DA:1,5
DA:2,0
DA:3,0
DA:5,0
DA:6,1
LH:2
LF:5
end_of_record
SF:/house/src/b.ts
DA:1,1
end_of_record
`;

Deno.test("lines and branches are counted from an lcov file", () => {
  const [a, b, ...rest] = coverageOf(LCOV);
  assertEquals(rest, []);
  assertEquals(a, {
    path: "/house/src/a.ts",
    lines: 5,
    linesRun: 2,
    branches: 3,
    branchesRun: 1,
    missed: ["2-3", "5"],
  });
  assertEquals([b!.lines, b!.linesRun, b!.missed], [1, 1, []]);
  assertEquals(percent(a!.linesRun, a!.lines), 40);
  assertEquals(coverageOf(""), []);
});

Deno.test("nothing measured is no success", () => {
  const share = percent(0, 0);
  assertEquals(share >= 95, false);
});

Deno.test("what a killed process left half written is left out", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const write = (name: string, text: string) =>
      Deno.writeTextFile(`${directory}/${name}`, text);
    await write("whole.json", '{\n  "result": []\n}');
    await write("empty.json", "");
    await write("half.json", '{\n  "result": [\n    {}');
    assertEquals(await removeTorn(directory), 2);
    const left = Array.from(Deno.readDirSync(directory), ({ name }) => name);
    assertEquals(left, ["whole.json"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
