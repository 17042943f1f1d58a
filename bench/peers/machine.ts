/**
 * What a figure depends on, beside the program.
 *
 * @module
 */

function output(program: string, ...args: string[]): string {
  try {
    const { stdout } = new Deno.Command(program, { args }).outputSync();
    return new TextDecoder().decode(stdout).split("\n")[0]!.trim();
  } catch {
    return "";
  }
}

/** Commit, processor, kernel and the versions of the programs. */
export function machine(): Readonly<Record<string, string>> {
  const info = Deno.readTextFileSync("/proc/cpuinfo");
  const model = /^model name\s*: (.*)$/m.exec(info)?.[1] ?? "";
  return {
    commit: output("git", "rev-parse", "--short", "HEAD"),
    cpu: `${navigator.hardwareConcurrency} x ${model}`,
    kernel: output("uname", "-r"),
    deno: Deno.version.deno,
    "qemu-storage-daemon": output("qemu-storage-daemon", "--version"),
    dpdk: output("dpkg-query", "-W", "-f", "${Version}", "dpdk-dev"),
    fio: output("fio", "--version"),
  };
}
