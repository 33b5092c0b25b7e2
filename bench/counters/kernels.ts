// Facts about the kernels of a checkout's build, read from the files that scripts/lib/kernels.mjs leaves.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { checkout } from "../../lib/native/checkout.js";

/** A kernel's use of a multiprocessor. */
export interface Resources {
  readonly registers: number;
  /** Bytes of spilled registers. */
  readonly spilled: number;
  /** Bytes of static shared memory. */
  readonly shared: number;
}

/** The contents of the build's kernel files with this ending; none in an installed package. */
function kernelFiles(ending: string): string[] {
  const folder = checkout("build/kernels");
  if (folder === undefined || !existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(ending));
  return names.map((name) => readFileSync(`${folder}/${name}`, "utf8"));
}

/** The version of the compiler that made the kernels, from their PTX: `V13.0.88`. Undefined outside a checkout's build. */
export function kernelCompiler(): string | undefined {
  const [ptx] = kernelFiles(".ptx");
  return ptx && /Cuda compilation tools.*(V[\d.]+)/.exec(ptx)?.[1];
}

let resources: Readonly<Record<string, Resources>> | undefined;

/** What ptxas reported of a kernel's sm_80 cubin. Undefined outside a checkout's build. */
export function resourcesOf(kernel: string): Resources | undefined {
  resources ??= Object.assign({}, ...kernelFiles(".sm_80.json").map((text) => JSON.parse(text)));
  return resources![kernel];
}
