import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { addon } from "../../lib/native/addon.js";
import { Device } from "../../lib/tensor/device.js";
import { isas } from "./numbers.js";

/** One device for every instruction set of this machine, to run a test on each. */
export const devices: readonly Device[] = await Promise.all(
  isas(addon().bestIsa).map((isa) => Device.open({ backend: "cpu", threads: 2, isa })),
);

/**
 * The CUDA backend on the virtual GPU, every check on, every tensor in an allocation of its own size; with
 * `CARACAL_TEST_GPU=1` on this machine's GPU. Undefined, and it is said why, where the virtual one cannot run.
 */
async function openCuda(): Promise<Device | undefined> {
  if (process.env.CARACAL_TEST_GPU === "1") return await Device.open({ backend: "cuda", cacheMemory: false });
  const library = fileURLToPath(new URL("../../build/Release/libcaracal_vgpu.so", import.meta.url));
  const missing = !existsSync(library) ? "the virtual GPU is not built" : "the build had no nvcc to compile kernels";
  if (!existsSync(library) || addon().cudaKernels === 0) {
    console.warn(`${missing}: nothing is tested on the CUDA backend`);
    return undefined;
  }
  process.env.CARACAL_CUDA_LIBRARY = library;
  process.env.CARACAL_VGPU_CHECK ??= "initcheck,racecheck";
  return await Device.open({ backend: "cuda", cacheMemory: false });
}
export const cuda: Device | undefined = await openCuda();

/** Those and the CUDA backend. */
export const allDevices: readonly Device[] = cuda ? [...devices, cuda] : devices;
