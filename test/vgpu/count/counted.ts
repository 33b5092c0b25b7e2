// Runs kernels and reads their counters from the file that the virtual GPU writes.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import type { Argument, Shape } from "../support/device.js";
import { deviceWith } from "../support/modes.js";
import { kernel, remember } from "../support/ptx.js";

type Name =
  | "executed"
  | "lanes"
  | "divergences"
  | "globalRequests"
  | "globalLoadSectors"
  | "globalStoreSectors"
  | "globalLoadSectorsTouched"
  | "globalStoreSectorsTouched"
  | "bankConflicts"
  | "asyncBytes";
type Counts = { readonly [name in Name]?: number };
export type Sum = Counts & { readonly classes: Readonly<Record<string, number>> };
export interface Launch {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  readonly cluster: readonly number[];
  readonly staticShared: number;
  readonly dynamicShared: number;
  readonly total: Sum;
  readonly lines: readonly (Sum & { readonly file: string; readonly line: number })[];
  readonly instructions: readonly (Counts & { readonly instruction: string })[];
}

export const folder = mkdtempSync(join(tmpdir(), "vgpu-count-"));
export const file = join(folder, "counts");
afterAll(() => rmSync(folder, { recursive: true }));
let device: Awaited<ReturnType<typeof deviceWith>>;
/** Restarts the virtual GPU with these settings and those needed for counting. */
export async function restart(settings: Readonly<Record<string, string>> = {}): Promise<void> {
  device = await deviceWith({ CARACAL_VGPU_COUNT: file, CARACAL_VGPU_COMPUTE: "9.0", ...settings });
}
beforeAll(() => restart());

/** The counters of a launch. */
export function launched(ptx: string, kernel: string, shape: Shape, ...parameters: Argument[]): Launch {
  rmSync(file, { force: true });
  new device.PtxModule(ptx).run(kernel, shape, ...parameters);
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0]!) as Launch;
}
/** The counters of a kernel of support/ptx.ts with this body; `out` has 64 KB. */
export function counted(body: string, shape: Shape, shared = 16, edit = (ptx: string) => ptx): Launch {
  const ptx = edit(kernel(body, { target: "sm_90a", shared }));
  remember(ptx, "sm_90a");
  return launched(ptx, "k", shape, new Uint8Array(16384), new Uint8Array(65536));
}
/** The counts of the only instruction that begins like this. */
export function only(launch: Launch, instruction: string) {
  const found = launch.instructions.filter((i) => i.instruction.startsWith(instruction));
  expect(found).toHaveLength(1);
  return found[0]!;
}

/** Adds the source file and line of its own instructions to a kernel. */
export const twoLines = (ptx: string) => ptx.replace("{\n", "{\n.loc 1 1 0\n").concat('.file 1 "somewhere/sum.cu"\n');
export const linesBody = `.loc 1 7 0
  ld.global.u32 %r1, [%rd1];
  add.u32 %r1, %r1, 1;
.loc 1 9 3
  st.global.u32 [%rd2], %r1;
  bar.sync 0;
.loc 1 7 5
  red.global.add.u32 [%rd2], 1;
.loc 1 10 0`;
