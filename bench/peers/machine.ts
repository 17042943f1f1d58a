/**
 * What a figure depends on, beside the program.
 *
 * @module
 */

const ROOT = new URL("../..", import.meta.url);

function output(program: string, ...args: string[]): string {
  try {
    const { stdout } = new Deno.Command(program, {
      args,
      cwd: ROOT,
      stderr: "null",
    }).outputSync();
    return new TextDecoder().decode(stdout).split("\n")[0]!.trim();
  } catch {
    return "";
  }
}

/** What git has, and whether what runs is that. */
function commit(): string {
  const name = output("git", "rev-parse", "--short", "HEAD");
  const running = ["main.ts", "src", "devices"];
  const changes = output("git", "status", "--porcelain", "--", ...running);
  return changes === "" ? name : `${name}-dirty`;
}

/** Commit, processor, kernel and the versions of the programs. */
export function machine(): Readonly<Record<string, string>> {
  const info = Deno.readTextFileSync("/proc/cpuinfo");
  const model = /^model name\s*: (.*)$/m.exec(info)?.[1] ?? "";
  return {
    commit: commit(),
    cpu: `${navigator.hardwareConcurrency} x ${model}`,
    kernel: output("uname", "-r"),
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    "qemu-storage-daemon": output("qemu-storage-daemon", "--version"),
    dpdk: output("dpkg-query", "-W", "-f", "${Version}", "dpdk-dev"),
    fio: output("fio", "--version"),
    "vhost-device-rng": output("vhost-device-rng", "--version"),
  };
}
