// Handwritten PTX kernels, for a single warp unless specified otherwise.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Argument, PtxModule, type Shape } from "./device.js";

const registers = `
  .reg .pred %p<16>; .reg .b16 %h<32>; .reg .b32 %r<96>; .reg .b64 %rd<32>; .reg .f32 %f<64>; .reg .f64 %d<64>;`;

/**
 * A kernel k(in, out): %rd1 and %rd2 are the addresses, %r0 is the thread and %rd0 is 8 times that, so that after
 * `add.s64` a body can address [%rd1 + …] per thread.
 */
export function kernel(body: string, options: { target?: string; shared?: number } = {}): string {
  return `.version 8.5
.target ${options.target ?? "sm_80"}
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out)
{${registers}
  .shared .align 128 .b8 buffer[${options.shared ?? 16}];
  ld.param.u64 %rd1, [in];
  ld.param.u64 %rd2, [out];
  mov.u32 %r0, %tid.x;
  mul.wide.u32 %rd0, %r0, 8;
${body}
  ret;
}
`;
}

const written: { ptx: string; target: string }[] = [];
/** Records a kernel for testPtxas; `run` does this by itself. */
export const remember = (ptx: string, target: string): void => void written.push({ ptx, target });

/** Runs a kernel with this body and records it for ptxas. */
export function run(
  body: string,
  shape: Shape,
  input: Argument,
  output: Argument,
  options: { target?: string; shared?: number } = {},
): void {
  const ptx = kernel(body, options);
  remember(ptx, options.target ?? "sm_80");
  new PtxModule(ptx).run("k", shape, input, output);
}

const hasPtxas = spawnSync("ptxas", ["--version"]).status === 0;

/** A test to put last in a file: ptxas accepts every kernel that was run, except those meant to be refused. */
export function testPtxas(meant?: RegExp): void {
  const name = `ptxas accepts all of it${hasPtxas ? "" : " (skipped: ptxas is not on the PATH)"}`;
  test.skipIf(!hasPtxas)(
    name,
    () => {
      expect(written.length).toBeGreaterThan(0);
      expect(refusedByPtxas().filter((report) => !meant?.test(report))).toEqual([]);
    },
    300_000,
  );
}

/** The errors of ptxas for the kernels run so far. */
function refusedByPtxas(): string[] {
  const folder = mkdtempSync(join(tmpdir(), "vgpu-ptx-"));
  const refused: string[] = [];
  for (const [n, { ptx, target }] of written.entries()) {
    const file = join(folder, `${n}.ptx`);
    writeFileSync(file, ptx);
    try {
      execFileSync("ptxas", ["-arch", target, "-o", "/dev/null", file], { stdio: "pipe" });
    } catch (error) {
      refused.push(`${String((error as { stderr?: Buffer }).stderr)}\n${ptx}`);
    }
  }
  rmSync(folder, { recursive: true });
  return refused;
}

/** Repeatable numbers: a linear congruential generator. */
export function numbers(seed: number): () => number {
  let state = BigInt(seed) * 2654435761n + 1n;
  return () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    return Number(state >> 32n);
  };
}

/** The values of `f` for lanes 0 to 31. */
export const lanes = (f: (lane: number) => number): Uint32Array<ArrayBuffer> =>
  Uint32Array.from({ length: 32 }, (_, l) => f(l));
