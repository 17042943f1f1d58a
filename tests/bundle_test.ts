/**
 * The program in few files, as `deno task bundle` packs it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { BlockConnection } from "../src/testing/block_connection.ts";
import { bundle, threadModules } from "../tools/bundle.ts";
import { requirement } from "./support/require.ts";
import { BackEnd, type BackEndKind, ringside } from "./vm/back_end.ts";

/** It packs by an npm package that Deno fetches. */
const canBundle = requirement("deno bundle", () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-bundle-" });
  try {
    const script = `${directory}/empty.ts`;
    Deno.writeTextFileSync(script, "");
    const { success } = new Deno.Command(Deno.execPath(), {
      args: ["bundle", "--quiet", "--output", `${directory}/out.js`, script],
      stdout: "null",
      stderr: "null",
    }).outputSync();
    return success;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test({
  name: "a bundle serves on both planes, from where it was put",
  ignore: !canBundle,
  async fn() {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-bundle-" });
    try {
      await bundle(`${directory}/made`);
      Deno.renameSync(`${directory}/made`, `${directory}/moved`);
      const kind: BackEndKind = {
        ...ringside,
        command: (options) =>
          ringside.command(options).map((word) =>
            word.endsWith("/main.ts") ? `${directory}/moved/main.js` : word
          ),
      };
      const file = `${directory}/disk.img`;
      for (const dataPlane of ["inline", "worker"]) {
        Deno.writeFileSync(file, new Uint8Array(1 << 20).fill(7));
        const socketPath = `${directory}/${dataPlane}.sock`;
        const options = { socketPath, file, dataPlane };
        await using backEnd = await BackEnd.start(kind, options);
        using disk = await BlockConnection.open(socketPath);
        assertEquals(
          await disk.driver.read(8, 512),
          new Uint8Array(512).fill(7),
        );
        assertEquals((await backEnd.stop()).code, 0, backEnd.log);
      }
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  },
});

Deno.test("the data side of every device is among the modules of threads", async () => {
  const { devices } = await import("../devices/mod.ts");
  const found = (await threadModules()).map(({ module }) => module);
  for (const name of Object.keys(devices)) {
    assertEquals(found.includes(`devices/${name}/queue.ts`), true, name);
  }
  assertEquals(found.includes("src/server/worker.ts"), true);
});
