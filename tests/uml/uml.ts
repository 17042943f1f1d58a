/**
 * User Mode Linux: a kernel as a process, which speaks vhost-user by itself. It
 * is the one front-end in use that has in-band notifications.
 *
 * @module
 */
import { cpio, type CpioEntry } from "../vm/cpio.ts";

const KERNEL = "/usr/bin/linux.uml";
const MODULES = "/usr/lib/uml/modules";
const BUSYBOX = "/usr/bin/busybox";
const MEMORY = "128M";
const VIRTIO_ID_BLOCK = 2;

/** The modules' folder of the kernel, or null where there is none. */
function modulesFolder(): string | null {
  try {
    const [release] = [...Deno.readDirSync(MODULES)];
    return release === undefined ? null : `${MODULES}/${release.name}/kernel`;
  } catch {
    return null;
  }
}

/** Whether it is installed, and may have a process namespace. */
export function hasUml(): boolean {
  if (Deno.uid() !== 0) return false;
  try {
    Deno.statSync(KERNEL);
    Deno.statSync(BUSYBOX);
    return modulesFolder() !== null;
  } catch {
    return false;
  }
}

/** A guest whose only program is `script`, for busybox's sh. */
function initrd(script: string): Uint8Array<ArrayBuffer> {
  const file = (path: string, data: Uint8Array): CpioEntry => ({
    kind: "file",
    path,
    data,
    executable: true,
  });
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
insmod /virtio_blk.ko
${script}
poweroff -f
`;
  const entries: CpioEntry[] = [
    ...["/bin", "/dev", "/proc", "/sys"].map((path): CpioEntry => ({
      kind: "directory",
      path,
    })),
    { kind: "character", path: "/dev/console", major: 5, minor: 1 },
    file("/bin/busybox", Deno.readFileSync(BUSYBOX)),
    file(
      "/virtio_blk.ko",
      Deno.readFileSync(`${modulesFolder()}/drivers/block/virtio_blk.ko`),
    ),
    file("/init", new TextEncoder().encode(init)),
  ];
  const parts = [...cpio(entries)];
  const whole = new Uint8Array(parts.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Boots a guest in `directory` with the disk behind `socketPath` and runs
 * `script` there: what it printed. Rejects with that after `timeoutMs`.
 */
export async function runGuest(
  directory: string,
  socketPath: string,
  script: string,
  timeoutMs: number,
): Promise<string> {
  const initrdPath = `${directory}/initrd`;
  Deno.writeFileSync(initrdPath, initrd(script));
  // A kernel is several processes, which don't end with one of them.
  const child = new Deno.Command("unshare", {
    args: ["--pid", "--fork", "--kill-child", KERNEL].concat(
      `mem=${MEMORY}`,
      `initrd=${initrdPath}`,
      "rdinit=/init",
      "con=null",
      "con0=fd:0,fd:1",
      `virtio_uml.device=${socketPath}:${VIRTIO_ID_BLOCK}`,
    ),
    env: { TMPDIR: "/dev/shm" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  try {
    const { stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    const text = decoder.decode(stdout) + decoder.decode(stderr);
    if (timedOut) {
      throw new Error(`The guest is not done after ${timeoutMs} ms:\n${text}`);
    }
    return text;
  } finally {
    clearTimeout(timer);
  }
}
