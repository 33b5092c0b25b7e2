// PTX from nvcc, cached under build/ by a hash of its source, flags and compiler version.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { fileURLToPath } from "node:url";

const found = spawnSync("nvcc", ["--version"], { encoding: "utf8" });
/** Tests that need nvcc are skipped if it is missing. */
export const hasNvcc = found.status === 0;
if (!hasNvcc) console.warn("nvcc is not on the PATH: the tests of CUDA kernels are skipped");

const kernels = new URL("../kernels/", import.meta.url);
const cache = new URL("../../../build/vgpu-ptx/", import.meta.url);

/** The PTX of kernels/`name`.cu. */
export function compile(name: string, flags: readonly string[] = [], arch = "sm_80"): string {
  const source = fileURLToPath(new URL(`${name}.cu`, kernels));
  const all = ["-ptx", "-std=c++17", "-lineinfo", "-arch", arch, ...flags];
  const hash = createHash("sha256")
    .update(readFileSync(source))
    .update(JSON.stringify([all, found.stdout]))
    .digest("hex")
    .slice(0, 24);
  const file = fileURLToPath(new URL(`${name}-${hash}.ptx`, cache));
  if (!existsSync(file)) {
    mkdirSync(cache, { recursive: true });
    const own = `${file}.${process.pid}`; // several test processes may compile at once
    execFileSync("nvcc", [...all, "-o", own, source], { stdio: "pipe" });
    renameSync(own, file);
  }
  return readFileSync(file, "utf8");
}
