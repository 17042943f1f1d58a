import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  it,
} from "@std/testing/bdd";

describe("bdd", () => {
  let seen: string[] = [];
  beforeAll(() => {
    seen = ["beforeAll"];
  });
  beforeEach(() => {
    seen.push("outer beforeEach");
  });
  afterEach(() => {
    seen.push("outer afterEach");
  });
  afterAll(() => {
    assertEquals(seen, [
      "beforeAll",
      "outer beforeEach",
      "first",
      "outer afterEach",
      "outer beforeEach",
      "inner beforeEach",
      "second",
      "inner afterEach",
      "outer afterEach",
    ]);
  });

  it("runs a test between its hooks", () => {
    seen.push("first");
  });

  it.skip("leaves out what is skipped", () => {
    seen.push("skipped");
  });

  it.ignore("leaves out what is ignored", () => {
    seen.push("ignored");
  });

  it("leaves out what its options ignore", { ignore: true }, () => {
    seen.push("ignored by its options");
  });

  describe("nested", () => {
    beforeEach(() => {
      seen.push("inner beforeEach");
    });
    afterEach(async () => {
      await Promise.resolve();
      seen.push("inner afterEach");
    });

    it("runs the hooks of all suites around it", async () => {
      await Promise.resolve();
      seen.push("second");
    });
  });

  describe.skip("skipped", () => {
    it("does not run", () => {
      seen.push("in a skipped suite");
    });
  });
});

describe("an ignored suite", { ignore: true }, () => {
  it("does not run", () => {
    throw new Error("it ran");
  });
});

/** What `deno test` says of a file whose tests fail in hooks. */
async function outcome(body: string): Promise<string> {
  const directory = await Deno.makeTempDir();
  try {
    const bdd = new URL("./bdd.ts", import.meta.url);
    const names = "describe, it, beforeAll, beforeEach, afterEach, afterAll";
    const file = `${directory}/hooks_test.ts`;
    await Deno.writeTextFile(file, `import {${names}} from "${bdd}";${body}`);
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--no-config", "--no-check", file],
      env: { NO_COLOR: "1" },
    }).output();
    assert(!success, "a failing hook passed");
    return new TextDecoder().decode(stdout);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const hook of ["beforeAll", "beforeEach", "afterEach", "afterAll"]) {
  Deno.test(`what ${hook} throws fails the suite`, async () => {
    const said = await outcome(
      `describe("suite", () => {
        ${hook}(() => { throw new Error("Boom") });
        it("test", () => {});
      });`,
    );
    assertStringIncludes(said, "Boom");
  });
}

Deno.test("afterEach runs after a failure too", async () => {
  const said = await outcome(
    `describe("suite", () => {
      afterEach(() => console.log("afterEach ran"));
      it("test", () => { throw new Error("Boom") });
    });`,
  );
  assertStringIncludes(said, "afterEach ran");
});
