// The virtual GPU with other settings. The library reads the environment once, so each setting gets its own copy of it.
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, vi } from "vitest";

type Device = typeof import("./device.js");
const built = fileURLToPath(new URL("../../../build/Release/libcaracal_vgpu.so", import.meta.url));
const library = process.env.CARACAL_VGPU_LIBRARY ?? built;

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** sm_90a with all checks, for small kernels. */
export const hopper = {
  CARACAL_VGPU_COMPUTE: "9.0",
  CARACAL_VGPU_CHECK: "initcheck,racecheck",
  CARACAL_VGPU_BUDGET: "2000000",
};
/** The modes of completion of asynchronous copies. */
export const completions: readonly Readonly<Record<string, string>>[] = [
  { CARACAL_VGPU_ASYNC: "late" },
  { CARACAL_VGPU_ASYNC: "early" },
  ...["1", "2", "3"].map((seed) => ({ CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: seed })),
];

/** The module support/device.ts with these variables and no others. They stay set until the next call. */
export async function deviceWith(environment: Readonly<Record<string, string>>): Promise<Device> {
  const folder = mkdtempSync(join(tmpdir(), "vgpu-"));
  folders.push(folder);
  const copy = join(folder, "libcaracal_vgpu.so");
  copyFileSync(library, copy);
  for (const name of Object.keys(process.env)) if (name.startsWith("CARACAL_VGPU_")) delete process.env[name];
  Object.assign(process.env, environment, { CARACAL_VGPU_LIBRARY: copy });
  vi.resetModules();
  return await import("./device.js");
}
