import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { addon } from "../../lib/native/addon.js";
import { Device } from "../../lib/tensor/tensor.js";
import { isas } from "./numbers.js";

/** One CPU device for every instruction set that this machine supports. */
export const devices: readonly Device[] = await Promise.all(
  isas(addon().bestIsa).map((isa) => Device.open({ backend: "cpu", threads: 2, isa })),
);

/**
 * Opens the CUDA backend on the virtual GPU with every check on, or with `CARACAL_TEST_GPU=1` on this machine's GPU.
 * Every tensor has an allocation of its exact size. If the virtual GPU cannot run, warns why and returns undefined.
 */
async function openCuda(): Promise<Device | undefined> {
  if (process.env.CARACAL_TEST_GPU === "1") return await Device.open({ backend: "cuda", cacheMemory: false });
  const library = fileURLToPath(new URL("../../build/Release/libcaracal_vgpu.so", import.meta.url));
  const missing = !existsSync(library) ? "the virtual GPU is not built" : "the build had no nvcc to compile kernels";
  if (!existsSync(library) || addon().cudaKernels === 0) {
    console.warn(`${missing}: the CUDA backend is not tested`);
    return undefined;
  }
  process.env.CARACAL_CUDA_LIBRARY = library;
  process.env.CARACAL_VGPU_CHECK ??= "initcheck,racecheck";
  return await Device.open({ backend: "cuda", cacheMemory: false });
}
/** The devices of tests that run on every device: "cpu" or "cuda", or both if it is not set. */
const chosen = process.env.CARACAL_TEST_DEVICES;

export const cuda: Device | undefined = chosen === "cpu" ? undefined : await openCuda();

/** The chosen devices: one CPU device per instruction set, and the CUDA backend if it can run. */
export const allDevices: readonly Device[] = [...(chosen === "cuda" ? [] : devices), ...(cuda ? [cuda] : [])];

/** One device per chosen backend. */
export const backends: readonly Device[] = allDevices.filter((device) => device === cuda || device === devices.at(-1));
